"""The phases of one case, in order: a cold pass over other data pays the first-time costs, then each is measured."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import registry
from adapters.base import Adapter, Resources
from benchmarks import preparation
from benchmarks.cases import LARGEST_WARMUP, Case
from benchmarks.journal import Journal
from benchmarks.preparation import Inputs
from benchmarks.records import Quality
from datasets import scores
from datasets.flowers import real_flowers
from datasets.synthetic import posterior

Measure = Callable[..., None]
"""The fixture `measure` in conftest.py."""

COLD = ("load", "train", "predict_one", "predict", "save", "restore")
WARM = ("load", "train", "predict", "predict_one", "save", "restore")
ONE_FLOWER_ROUNDS = 200
PHASE_BUDGET_S = 0.5
"""Rounds of a phase go on until their number is reached or this much time is spent; there is always one."""


class Pass:
    """One pass of an adapter over one dataset: each phase as a call without arguments, leaving what the next needs."""

    def __init__(self, adapter: Adapter[Any, Any], case: Case, rows: int, path: Path, folder: Path) -> None:
        self.adapter, self.case, self.path, self.folder = adapter, case, path, folder
        self.recipe = adapter.recipe(case.model, rows)
        self.flower = real_flowers()[0][100].copy()
        self.table = self.model = None

    def load(self) -> None:
        self.table = self.adapter.load(self.path)

    def train(self) -> None:
        self.model = self.adapter.train(self.table, self.recipe, self.case.seed)

    def predict(self) -> None:
        self.adapter.predict(self.model, self.table)

    def predict_one(self) -> None:
        self.adapter.predict_one(self.model, self.flower)

    def save(self) -> None:
        self.adapter.save(self.model, self.folder)

    def restore(self) -> None:
        self.adapter.restore(self.folder)

    def before(self, phase: str) -> Callable[[], None]:
        """What has to be put away ahead of each round of a phase, outside its time."""

        def empty_folder() -> None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)

        return {"load": self.release, "save": empty_folder}.get(phase, lambda: None)

    def release(self) -> None:
        if self.table is not None:
            self.adapter.release(self.table)
            self.table = None


@pytest.fixture(scope="module")
def cold(engine: SimpleNamespace, case: Case, inputs: Inputs, folder: Path) -> Pass:
    return Pass(engine.adapter, case, min(case.rows, LARGEST_WARMUP), inputs.warmup, folder / "cold")


@pytest.fixture(scope="module")
def warm(engine: SimpleNamespace, case: Case, inputs: Inputs, folder: Path) -> Pass:
    return Pass(engine.adapter, case, case.rows, inputs.train, folder / "model")


def test_import(measure: Measure, engine: SimpleNamespace, case: Case, inputs: Inputs, journal: Journal) -> None:
    registry.hide_others(case.framework)

    def work() -> None:
        engine.adapter = registry.FRAMEWORKS[case.framework].create(case.track)

    measure("import", work)
    if reason := engine.adapter.unsupported(case.model):
        journal.write("error", outcome="unsupported", reason=reason)
        pytest.exit(f"unsupported: {reason}", returncode=0)


def test_start(measure: Measure, engine: SimpleNamespace, resources: Resources) -> None:
    measure("start", lambda: engine.adapter.start(resources))


@pytest.mark.parametrize("phase", COLD)
def test_cold(phase: str, measure: Measure, cold: Pass) -> None:
    measure(phase, getattr(cold, phase), cold.before(phase), cold=True)
    if phase == COLD[-1]:
        cold.release()


@pytest.mark.parametrize("phase", WARM)
def test_warm(phase: str, measure: Measure, warm: Pass, pytestconfig: pytest.Config) -> None:
    if phase == "predict_one":  # its slowest calls are of interest, so the number of calls does not depend on time
        rounds, budget_s = ONE_FLOWER_ROUNDS, math.inf
    else:
        rounds, budget_s = pytestconfig.option.rounds, PHASE_BUDGET_S
    measure(phase, getattr(warm, phase), warm.before(phase), rounds, budget_s)


def test_quality(case: Case, inputs: Inputs, warm: Pass, journal: Journal, pytestconfig: pytest.Config) -> None:
    """Writes down the recipe as it ran, and scores the model on flowers that it has not seen.

    Of the real flowers there are too few for that. Cross-validation then scores the recipe, and not this very model,
    so that once a run is enough.
    """
    journal.begin("quality")
    adapter = warm.adapter
    size = sum(path.stat().st_size for path in warm.folder.rglob("*") if path.is_file())
    first = pytestconfig.option.launch == 1
    build = adapter.build() if first else {}
    journal.write(
        "model", recipe=adapter.describe(warm.model) | {"predict_one": adapter.serving}, build=build, model_bytes=size
    )
    if inputs.test or first:
        _score(case, inputs.test, warm, journal)
    journal.end([])


def _score(case: Case, test: Path | None, warm: Pass, journal: Journal) -> None:
    adapter = warm.adapter
    bayes: dict[str, float] = {}
    if test:
        features, species = preparation.test_rows(case.seed)
        truth = posterior(features)
        bayes["bayes_accuracy"] = scores.accuracy(species, truth.argmax(axis=1))
        bayes["bayes_log_loss"] = scores.log_loss(species, truth)
        table = adapter.load(test)
        probabilities = adapter.predict_proba(warm.model, table)
    else:
        species, probabilities = _cross_validate(adapter, case, warm.folder.parent)
    if not np.isfinite(probabilities).all():
        raise ValueError("the model predicts probabilities that are no numbers: its training diverged")
    # The contract tests hold that the class a framework predicts is the one with the largest probability.
    accuracy, log_loss = scores.accuracy(species, probabilities.argmax(axis=1)), scores.log_loss(species, probabilities)
    gate = preparation.case_gate(case)
    failed, reference = gate.failed(accuracy, log_loss), gate.reference
    quality = Quality(
        test_rows=len(species),
        accuracy=accuracy,
        log_loss=log_loss,
        target_accuracy=gate.least_accuracy,
        reached_target=not failed,
        reference_log_loss=reference.log_loss if reference else None,
        log_loss_excess=log_loss - reference.log_loss if reference else None,
        log_loss_limit=gate.log_loss_limit,
        failed_conditions=failed,
        **bayes,
    )
    journal.write("quality", **asdict(quality))


def _cross_validate(
    adapter: Adapter[Any, Any], case: Case, folder: Path
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Species and class probabilities of the real flowers, each by a model that has not seen it."""
    truth, probabilities = [], []
    for train, test, species in preparation.folds(case.seed, folder):
        table, unseen = adapter.load(train), adapter.load(test)
        truth.append(species)
        recipe = adapter.recipe(case.model, case.rows - len(species))
        probabilities.append(adapter.predict_proba(adapter.train(table, recipe, case.seed), unseen))
        adapter.release(table)
        adapter.release(unseen)
    return np.concatenate(truth), np.concatenate(probabilities)


def test_close(measure: Measure, engine: SimpleNamespace) -> None:
    measure("close", engine.adapter.close)
