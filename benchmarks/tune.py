"""Looks for faster recipes: trains with each candidate of an adapter in turn, and keeps what came out, in Markdown."""

from __future__ import annotations

import gc
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adapters import registry
from adapters.base import Adapter, Resources
from benchmarks import environment, preparation
from benchmarks.cases import Case
from benchmarks.environment import ROOT
from benchmarks.gate import Gate
from commandline import BadInput
from datasets import scores
from datasets.files import replace_file
from machine import pin

RECIPES = ROOT / "adapters" / "RECIPES.md"
SAME = 1.1
"""A candidate is faster only if the recipe takes more than this many times as long: noise takes less."""


@dataclass
class Trial:
    """One candidate on one number of rows: its recipe, and per seed how it did."""

    rows: int
    recipe: dict[str, Any]
    gate: Gate
    seconds: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    log_losses: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def reached(self) -> bool:
        """Whether every seed passes the quality gate."""
        return not self.error and not self.gate.failed(min(self.accuracies), max(self.log_losses))

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def sweep(
    framework: str, model: str, rows: Sequence[int], seeds: int, threads: int, said: Callable[[str], None]
) -> list[Trial]:
    """Trains the recipe and every candidate once for each seed, in turns, so that all see the same of the machine.

    Before its turns each is trained once on other rows, where it may compile what it needs. The seconds are those of
    `train` alone. BadInput where the framework cannot run.
    """
    row = registry.FRAMEWORKS[framework]
    if reason := row.missing():
        raise BadInput(f"{framework} is unavailable: {reason}")
    registry.hide_others(framework)
    pin(threads)
    trials = []
    with TemporaryDirectory(prefix="irisbench-") as folder, row.create() as adapter:
        if reason := adapter.supports(model):
            raise BadInput(f"{framework} does not do {model}: {reason}")
        adapter.start(Resources(threads, environment.default_memory_limit(), Path(folder), row.device))
        for n_rows in rows:
            trials += _sweep_size(adapter, Case(framework, model, n_rows, threads=threads), seeds, said)
    return trials


def _sweep_size(adapter: Adapter, case: Case, seeds: int, said: Callable[[str], None]) -> list[Trial]:
    preparation.make(case.rows, case.seed)
    inputs = preparation.inputs(case.rows, case.seed)
    if inputs.test is None:
        raise BadInput("--rows 150: the real flowers are too few to tell recipes apart; name more rows")
    gate = preparation.case_gate(case)
    test_species = preparation.test_rows(case.seed)[1]
    own = adapter.recipe(case.model, case.rows)
    others = [recipe for recipe in adapter.candidates(case.model, case.rows) if recipe != own]
    trials = [Trial(case.rows, recipe, gate) for recipe in (own, *others)]
    table, test, warmup = adapter.load(inputs.train), adapter.load(inputs.test), adapter.load(inputs.warmup)
    for seed in range(-1, seeds):
        for trial in trials[max(seed, 0) :] + trials[: max(seed, 0)]:
            if trial.error:
                continue
            adapter.instead = trial.recipe
            gc.collect()
            try:
                began = time.perf_counter()
                trained = adapter.train(warmup if seed < 0 else table, case.model, max(seed, 0))
                seconds = time.perf_counter() - began
                probabilities = adapter.predict_proba(trained, test)
            except Exception as error:
                trial.error = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
                said(f"{case.rows:,} rows, {words(trial.recipe)}: {trial.error}")
                continue
            if seed >= 0:
                trial.seconds.append(seconds)
                trial.accuracies.append(scores.accuracy(test_species, probabilities.argmax(axis=1)))
                trial.log_losses.append(scores.log_loss(test_species, probabilities))
                found = f"{seconds:.3g} s, accuracy {trial.accuracies[-1]:.4f}, log-loss {trial.log_losses[-1]:.4f}"
                failed = gate.failed(trial.accuracies[-1], trial.log_losses[-1])
                missed = f", failed: {' and '.join(failed)}" if failed else ""
                said(f"{case.rows:,} rows, seed {seed}, {words(trial.recipe)}: {found}{missed}")
    for each in (table, test, warmup):
        adapter.release(each)
    return trials


def words(recipe: dict[str, Any]) -> str:
    """A recipe in words: `batch 2048, epochs 1`."""
    return ", ".join(f"{name} {value}" for name, value in recipe.items())


def best(trials: Sequence[Trial]) -> Trial | None:
    """The fastest that passes the quality gate, or the recipe where that is as fast; None if nothing passes."""
    reached = [trial for trial in trials if trial.reached]
    fastest = min(reached, key=lambda trial: trial.median, default=None)
    recipe = trials[0]
    return recipe if fastest and recipe.reached and recipe.median <= SAME * fastest.median else fastest


def markdown(framework: str, model: str, trials: Sequence[Trial]) -> str:
    """What came out, as a section of RECIPES.md."""
    machine = environment.machine()
    version = registry.FRAMEWORKS[framework].version
    seeds = max((len(trial.seconds) for trial in trials), default=0)
    lines = [
        f"## {framework}: {model}",
        "",
        f"{date.today()}, {registry.FRAMEWORKS[framework].distribution} {version}, Python {machine['python']}, "
        f"{machine['processor']}, {machine['usable_cores']} cores; {seeds} seeds. "
        f"Again: `./nox -s tune -- --framework {framework} --model {model}`",
    ]
    for rows in dict.fromkeys(trial.rows for trial in trials):
        own = [trial for trial in trials if trial.rows == rows]
        chosen = best(own)
        lines += ["", f"**{rows:,} rows**, {own[0].gate}. First the recipe that was in use.", ""]
        lines += ["| recipe | train, s | times the recipe's | least accuracy | largest log-loss | |"]
        lines += ["|---|--:|--:|--:|--:|---|"]
        for trial in own:
            if trial.error:
                lines.append(f"| {words(trial.recipe)} | | | | | {trial.error} |")
                continue
            verdict = "**chosen**" if trial is chosen else "" if trial.reached else "failed the gate"
            ratio = f"{trial.median / own[0].median:.2f}" if own[0].seconds else ""
            quality = f"{min(trial.accuracies):.4f} | {max(trial.log_losses):.4f}"
            lines.append(f"| {words(trial.recipe)} | {trial.median:.3g} | {ratio} | {quality} | {verdict} |")
    return "\n".join(lines) + "\n"


def keep(section: str, path: Path = RECIPES) -> None:
    """Puts a section into the file, in the place of the one with the same heading, or at its end."""
    heading = section.partition("\n")[0]
    text = path.read_text() if path.exists() else ""
    old = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = old.sub(lambda _: section + "\n", text) if old.search(text) else f"{text.rstrip()}\n\n{section}"
    replace_file(path, lambda beside: beside.write_text(text.strip() + "\n"))
