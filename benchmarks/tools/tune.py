"""Compare recipes: train with each candidate of an adapter in turn, and keep every training in a CSV file.

adapters/sweeps/FRAMEWORK-MODEL.csv    one row per training, with its quality gate, date and machine
adapters/RECIPES.md                    the choices and the runners-up, made from these files
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from adapters import registry
from adapters.base import MODELS, Adapter, Recipe, Resources
from adapters.errors import first_line
from benchmarks import case_data
from benchmarks.cases import Case
from benchmarks.quality_gate import Gate
from benchmarks.results import detect_environment
from datasets import scores
from datasets.files import replace_file
from errors import BadInput
from machine import ROOT, pin

RECIPES = ROOT / "adapters" / "RECIPES.md"
SWEEPS = ROOT / "adapters" / "sweeps"
TABLE = "<!-- The table below is made from sweeps/*.csv by ./nox -s tune. -->"
SAME = 1.1
"""A candidate is faster only if the recipe takes more than this many times as long. Smaller ratios are noise."""

LONGEST_S = 120.0
"""A candidate is not trained again after a training that took longer, unless it is the recipe in use."""


@dataclass
class Trial:
    """One recipe on one number of rows, with a value per seed."""

    rows: int
    recipe: Recipe
    gate: Gate
    seconds: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    log_losses: list[float] = field(default_factory=list)
    error: str | None = None

    def fail(self) -> bool:
        """Return whether a training raised an error or a seed failed the gate."""
        return bool(self.error or self.gate.failed(min(self.accuracies), max(self.log_losses)))


def sweep(
    framework: str, model: str, rows: Sequence[int], seeds: int, threads: int, report: Callable[[str], None]
) -> list[Trial]:
    """Train with the recipe and with every candidate, once per seed, in rotated order.

    Each is trained once on other rows first, because it may have to compile. The seconds are those of `train` alone.
    Raise BadInput if the framework cannot run.
    """
    row = registry.FRAMEWORKS[framework]
    if reason := row.missing():
        raise BadInput(f"{framework} is unavailable: {reason}")
    registry.hide_others(framework)
    pin(threads)
    trials = []
    with TemporaryDirectory(prefix="irisbench-") as folder, row.create() as adapter:
        if reason := adapter.unsupported(model):
            raise BadInput(f"{framework} does not support {model}: {reason}")
        adapter.start(Resources(threads, detect_environment.default_memory_limit(), Path(folder), row.device))
        for n_rows in rows:
            trials += _sweep_size(adapter, Case(framework, model, n_rows, threads=threads), seeds, report)
    return trials


def _sweep_size(adapter: Adapter[Any, Any], case: Case, seeds: int, report: Callable[[str], None]) -> list[Trial]:
    case_data.make(case.rows, case.seed)
    inputs = case_data.inputs(case.rows, case.seed)
    if inputs.test is None:
        raise BadInput("--rows 150: the real flowers are too few to tell recipes apart; name more rows")
    gate = case_data.case_gate(case)
    test_species = case_data.test_rows(case.seed)[1]
    current = adapter.recipe(case.model, case.rows)
    others = [recipe for recipe in adapter.candidates(case.model, case.rows) if recipe != current]
    trials = [Trial(case.rows, recipe, gate) for recipe in (current, *others)]
    table, test, warmup = adapter.load(inputs.train), adapter.load(inputs.test), adapter.load(inputs.warmup)
    for seed in range(-1, seeds):
        for trial in trials[max(seed, 0) :] + trials[: max(seed, 0)]:
            if trial.error or (trial is not trials[0] and max(trial.seconds, default=0) > LONGEST_S):
                continue
            gc.collect()
            what = f"{case.rows:,} rows, {text_of(trial.recipe)}"
            try:
                began = time.perf_counter()
                trained = adapter.train(warmup if seed < 0 else table, trial.recipe, max(seed, 0))
                seconds = time.perf_counter() - began
                probabilities = adapter.predict_proba(trained, test)
            except Exception as error:
                trial.error = first_line(error)[:120]
                report(f"{what}: {trial.error}")
                continue
            if seed >= 0:
                accuracy = scores.accuracy(test_species, probabilities.argmax(axis=1))
                log_loss = scores.log_loss(test_species, probabilities)
                trial.seconds.append(seconds)
                trial.accuracies.append(accuracy)
                trial.log_losses.append(log_loss)
                failed = " and ".join(gate.failed(accuracy, log_loss))
                report(
                    f"{what}, seed {seed}: {seconds:.3g} s, accuracy {accuracy:.4f}, log-loss {log_loss:.5f}"
                    + (f"; failed {failed}: {gate}" if failed else "")
                )
    for each in (table, test, warmup):
        adapter.release(each)
    return trials


def text_of(recipe: Recipe) -> str:
    """Return a recipe as text: `Adam, batch_size 2048, epochs 1`."""
    settings = recipe.settings()
    return ", ".join(
        [
            settings.pop("algorithm"),
            *(
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in settings.items()
            ),
        ]
    )


def frame(framework: str, model: str, trials: Sequence[Trial]) -> pd.DataFrame:
    """Return a row per training, and one for each recipe that raised an error."""
    machine = detect_environment.machine()
    rows = []
    for trial in trials:
        reference = trial.gate.reference
        shared = {
            "framework": framework,
            "model": model,
            "rows": trial.rows,
            "in_use": trial.recipe is _first(trials, trial.rows).recipe,
            "recipe": text_of(trial.recipe),
            "settings": json.dumps(trial.recipe.settings()),
            "least_accuracy": trial.gate.least_accuracy,
            "log_loss_limit": trial.gate.log_loss_limit,
            "reference_log_loss": reference and reference.log_loss,
            "error": trial.error,
            "date": date.today().isoformat(),
            "version": registry.FRAMEWORKS[framework].version,
            "python": machine.python,
            "processor": machine.processor,
            "cores": machine.usable_cores,
        }
        values = list(zip(trial.seconds, trial.accuracies, trial.log_losses, strict=True)) or [(np.nan,) * 3]
        for seed, (seconds, accuracy, log_loss) in enumerate(values):
            rows.append(shared | {"seed": seed, "seconds": seconds, "accuracy": accuracy, "log_loss": log_loss})
    return pd.DataFrame(rows)


def _first(trials: Sequence[Trial], rows: int) -> Trial:
    return next(trial for trial in trials if trial.rows == rows)


def keep(trainings: pd.DataFrame, recipes: Path = RECIPES, sweeps: Path = SWEEPS) -> None:
    """Replace the trainings of this framework and model at the same sizes, and write RECIPES.md again."""
    sweeps.mkdir(exist_ok=True)
    path = sweeps / f"{trainings['framework'].iloc[0]}-{trainings['model'].iloc[0]}.csv"
    if path.exists():
        before = pd.read_csv(path)
        trainings = pd.concat([before[~before["rows"].isin(trainings["rows"])], trainings])
    trainings = trainings.sort_values(["rows", "in_use", "recipe", "seed"], ascending=[True, False, True, True])
    replace_file(path, lambda beside: trainings.to_csv(beside, index=False, float_format="%.6g"))
    kept = pd.concat([pd.read_csv(file) for file in sorted(sweeps.glob("*.csv"))])
    before_table, _, _ = recipes.read_text().partition(TABLE)
    replace_file(
        recipes, lambda beside: beside.write_text(before_table + TABLE + "\n\n" + "\n".join(table(kept)) + "\n")
    )


def table(trainings: pd.DataFrame) -> list[str]:
    """Return a Markdown table with the recipe, its runner-up and its margin, by framework, model and size."""
    lines = [
        "| framework | model | rows | recipe | train, s | log-loss over the reference, worst seed (limit) "
        "| fastest other that passes | s |",
        "|---|---|--:|---|--:|--:|---|--:|",
    ]
    of_model = {name: number for number, name in enumerate(MODELS)}
    groups = trainings.groupby(["framework", "model", "rows"])
    for (framework, model, rows), group in sorted(
        groups, key=lambda item: (item[0][0], of_model[str(item[0][1])], item[0][2])
    ):
        trials = summary(group)
        current = trials[trials["in_use"]].iloc[0]
        others = trials[~trials["in_use"] & trials["passes"]].sort_values("seconds")
        runner_up = "none | " if len(trials) > 1 else "not measured | "
        if len(others):
            runner_up = f"{others.iloc[0]['recipe']} | {others.iloc[0]['seconds']:.3g}"
        passes = "" if current["passes"] else ", **fails**"
        limit = f"{current['limit']:+.4f}" if np.isfinite(current["limit"]) else "accuracy only"
        cells = str(framework), str(model), f"{rows:,}", current["recipe"], f"{current['seconds']:.3g}"
        lines.append(f"| {' | '.join(cells)} | {current['excess']:+.4f} ({limit}){passes} | {runner_up} |")
    return lines


def summary(trainings: pd.DataFrame) -> pd.DataFrame:
    """Return a row per recipe: its median seconds, its worst excess over the reference, and whether it passes.

    All trainings are those of one framework, model and number of rows.
    """
    rows = []
    for recipe, group in trainings.groupby("recipe", sort=False):
        first = group.iloc[0]
        gate = Gate(first["least_accuracy"], None if pd.isna(first["log_loss_limit"]) else first["log_loss_limit"])
        failed = bool(group["error"].notna().any()) or gate.failed(group["accuracy"].min(), group["log_loss"].max())
        rows.append(
            {
                "recipe": recipe,
                "in_use": bool(first["in_use"]),
                "seconds": group["seconds"].median(),
                "excess": group["log_loss"].max() - first["reference_log_loss"],
                "limit": first["log_loss_limit"] - first["reference_log_loss"],
                "passes": not failed,
            }
        )
    return pd.DataFrame(rows)
