"""Train a model of a framework on your flowers, and predict with it."""

from __future__ import annotations

import windows  # noqa: F401, ends here on native Windows

# isort: split
import early

if __name__ == "__main__":
    early.prepare()

# isort: split
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

import commandline
import interrupts
from adapters import inference, model_folder, registry
from adapters.base import MODELS, TRACKS, Adapter, Resources
from adapters.errors import Unavailable, exhausted_memory, first_line
from adapters.inference import STANDARD, NotWritten
from datasets import store, tables
from datasets.flowers import SPECIES
from datasets.folders import replaced_folder
from errors import BadInput, printable
from machine import ASSUMED_MEMORY, total_memory, usable_cores

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
error = Console(stderr=True, highlight=False)

Framework = Annotated[
    str,
    typer.Option(
        parser=commandline.one_of("framework", registry.FRAMEWORKS),
        metavar="NAME",
        help="Name that the command list shows.",
    ),
]
AdapterFiles = Annotated[list[Path] | None, commandline.adapter_files(registry.add_plugins)]
Model = Annotated[str, typer.Option(parser=commandline.one_of("model", MODELS), metavar="|".join(MODELS))]
Track = Annotated[str, typer.Option(parser=commandline.one_of("track", TRACKS), metavar="|".join(TRACKS))]
Threads = Annotated[int, typer.Option(min=1, metavar="N", help="Cores to use.")]
Memory = Annotated[
    int, typer.Option(parser=commandline.size, metavar="8GiB", help="Memory limit; it sets the size of Java's heap.")
]
CORES = usable_cores()
HALF = f"{(total_memory() or ASSUMED_MEMORY) // 2**21}MiB"


@app.command("list")
def list_(adapter_files: AdapterFiles = None) -> None:
    """List the frameworks. For each one that cannot run, show the reason and the command that installs it."""
    table = Table()
    table.add_column("framework", no_wrap=True)
    table.add_column("device")
    table.add_column("version", no_wrap=True)
    table.add_column("available", overflow="fold")
    for name, row in registry.FRAMEWORKS.items():
        reason = row.missing()
        table.add_row(name, row.device, row.version or "", f"no: {reason}" if reason else "[green]yes[/]")
    Console().print(table)


@app.command()
def train(
    framework: Framework,
    model: Model,
    data: Annotated[Path, typer.Option(metavar="FILE", help="CSV or Parquet file of flowers with their species.")],
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Model folder to write; an earlier model in it is replaced.")
    ],
    track: Track = "tuned",
    threads: Threads = CORES,
    memory: Memory = HALF,  # type: ignore[assignment]
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")] = 0,
    adapter_files: AdapterFiles = None,
) -> None:
    """Train a model on your flowers, and save it in a model folder."""
    commandline.check_resources(threads, memory)
    output = output.resolve()
    with replaced_folder(output, model_folder.check_replaceable) as new:
        features, species = tables.read(data, with_species=True)
        if absent := [label for label in range(len(SPECIES)) if not np.any(species == label)]:
            raise BadInput(
                f"{data} has no {' and no '.join(SPECIES[label] for label in absent)}; add flowers of every species"
            )
        with _engine(framework, track, threads, memory) as (adapter, folder, status):
            if reason := adapter.unsupported(model):
                raise BadInput(f"{framework} does not support {model}: {reason}")
            store.write(folder / "flowers.parquet", features, species)
            status.update(f"{framework}: training {model} on {len(features):,} flowers")
            table = adapter.load(folder / "flowers.parquet")
            trained = adapter.train(table, adapter.recipe(model, len(features)), seed)
            (new / model_folder.FILES).mkdir()
            adapter.save(trained, new / model_folder.FILES)
            recipe_as_ran = adapter.describe(trained)
        model_folder.write_card(new, framework, model, track, len(features), seed, recipe_as_ran)
    print(f"{output}: {model}, trained by {framework} on {len(features):,} flowers")


@app.command()
def predict(
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Model folder that train wrote.")],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="CSV (also .csv.gz) or Parquet file; a folder of CSV files; - for standard input."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(metavar="FILE", help="CSV file to write; a folder for a folder of files; - for standard output."),
    ],
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Copy this column, such as an id, to the results. May be repeated."),
    ] = None,
    threads: Threads = CORES,
    memory: Memory = "640MiB",  # type: ignore[assignment]
    adapter_files: AdapterFiles = None,
) -> None:
    """Predict the species of your flowers. The results are CSV with the species and three probabilities per row.

    Large inputs are read in pieces and need not fit in memory. A results file appears when it is complete. Files in a
    folder that cannot be read are skipped and listed at the end.
    """
    commandline.check_resources(threads, memory)
    inference.return_freed_memory()
    card, contents = model_folder.read_verified(model)
    columns = keep or []
    problems: list[str] = []
    try:
        jobs = inference.jobs(data, output, columns)
    except NotWritten as problem:
        _fail([str(problem)])
    with _engine(card.framework, card.track, threads, memory, constant_memory=True) as (adapter, folder, status):
        restored = model_folder.restore(adapter, model, card, contents, folder / "model")
        status.stop()
        for job in jobs:
            try:
                rows = inference.predict(adapter, restored, job, folder, error, columns)
            except BadInput as problem:
                if len(jobs) == 1:
                    raise
                problems.append(str(problem))
                continue
            except NotWritten as problem:  # the next results could not be written, either
                problems.append(str(problem))
                break
            name = "standard output" if job[1] == STANDARD else printable(str(job[1]))
            (error if job[1] == STANDARD else Console(highlight=False)).print(
                f"{name}: {rows:,} predictions by {card.framework}", soft_wrap=True, markup=False
            )
    if problems:
        _fail(problems)


def _fail(problems: list[str]) -> NoReturn:
    """Print a line for each problem, and exit with code 1."""
    for problem in problems:
        error.print(f"error: {printable(problem)}", soft_wrap=True, markup=False)
    raise typer.Exit(1)


@contextmanager
def _engine(
    framework: str, track: str, threads: int, memory: int, constant_memory: bool = False
) -> Iterator[tuple[Adapter[Any, Any], Path, Status]]:
    """Yield a started adapter, a temporary folder, and the status line of the terminal."""
    row = registry.FRAMEWORKS[framework]
    if reason := row.missing():
        raise BadInput(f"{framework} is unavailable: {reason}")
    registry.hide_others(framework)
    keep, folder = False, None
    try:
        with interrupts.uninterrupted():
            folder = Path(tempfile.mkdtemp(prefix="irisbench-"))
        with error.status(f"{framework}: starting") as status, row.create(track) as adapter:
            try:
                adapter.start(Resources(threads, memory, folder, row.device, constant_memory=constant_memory))
                interrupts.end_on_signals()  # PySpark has installed its own handler
                yield adapter, folder, status
            except (BadInput, BrokenPipeError):
                raise
            except Unavailable as problem:
                raise BadInput(f"{framework} is unavailable: {problem}") from None
            except Exception as problem:
                interrupts.end_if_interrupted()  # a library may have caught the signal and failed
                # Read the error while the engine is running: some of its errors cannot be read afterwards.
                keep = adapter.log is not None
                memory_kind = exhausted_memory(problem, adapter.log)
                what = (
                    f"ran out of memory ({memory_kind}); raise the limit with --memory"
                    if memory_kind
                    else first_line(problem)
                )
                status.stop()
                _fail([f"{framework} {what}" + (f" (log: {adapter.log})" if keep else "")])
    finally:
        if folder and not keep:
            with interrupts.uninterrupted():
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    commandline.main(app, "adapters")
