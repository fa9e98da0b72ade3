"""Generate and describe iris datasets of any size."""

from __future__ import annotations

import windows  # noqa: F401, ends here on native Windows

# isort: split
import early

if __name__ == "__main__":
    early.prepare()

# isort: split
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import commandline
from datasets import cache, scores
from datasets.flowers import FEATURES, SPECIES
from datasets.streaming import OnDisk
from datasets.synthetic import posterior
from errors import BadInput

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
error = Console(stderr=True, highlight=False)


@app.command()
def make(
    rows: Annotated[int, typer.Option(parser=commandline.rows, metavar="N", help="Flowers: 150 (real), 10_000, 1e7.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write; created if missing.")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the synthetic flowers.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cores to use; all usable cores by default.")
    ] = None,
) -> None:
    """Generate a dataset of Parquet files: the real flowers for 150 rows, synthetic flowers for any other number.

    Continue where an interrupted call stopped, and generate damaged parts again.
    """
    commandline.check_resources(threads)
    columns = [
        TextColumn("generating flowers"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=error, transient=True, disable=not error.is_terminal) as progress:
        task = progress.add_task("", total=rows)
        repaired = cache.make(
            output, rows, seed, progress=lambda n_rows: progress.advance(task, n_rows), threads=threads
        )
    for line in repaired:
        error.print(f"warning: {line}", soft_wrap=True, markup=False)
    print(f"{rows:,} flowers in {output}")


@app.command()
def describe(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that make wrote.")]) -> None:
    """Show what a dataset contains, whether it is complete, and the scores of the best possible model."""
    manifest = cache.Manifest.read(folder)
    damage = cache.check(folder)
    print(f"{manifest.rows:,} {manifest.stream} rows, seed {manifest.seed}, {len(manifest.parts)} part(s)")
    if damage:
        raise BadInput(f"{folder}: {'; '.join(damage)}. Repair it with python -m datasets make")

    counts = np.zeros(len(SPECIES), dtype=int)
    sums = np.zeros((len(SPECIES), len(FEATURES)))
    correct = loss = 0.0
    columns = [TextColumn("reading"), BarColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=error, transient=True, disable=not error.is_terminal) as progress:
        task = progress.add_task("", total=manifest.rows)
        for features, species in OnDisk.at(folder).in_order():
            assert species is not None
            probabilities = posterior(features)
            correct += len(species) * scores.accuracy(species, probabilities.argmax(axis=1))
            loss += len(species) * scores.log_loss(species, probabilities)
            for label in range(len(SPECIES)):
                counts[label] += np.sum(species == label)
                sums[label] += features[species == label].sum(axis=0, dtype=np.float64)
            progress.advance(task, len(species))
    print("all parts are complete")
    print(f"{'species':12}{'rows':>14}" + "".join(f"{name + ' cm':>18}" for name in FEATURES))
    for name, count, total in zip(SPECIES, counts, sums, strict=True):
        means = "".join(f"{value:>18.3f}" for value in total / max(count, 1))
        print(f"{name:12}{count:>14,}{means}")
    print(
        f"Bayes accuracy {correct / manifest.rows:.4f}, log-loss {loss / manifest.rows:.4f} (of the fitted Gaussians)"
    )


if __name__ == "__main__":
    commandline.main(app, "datasets")
