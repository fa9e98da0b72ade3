"""The phases of one case. A cold pass over other data pays the first-time costs; then each phase is measured."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import registry
from adapters.base import Adapter, Resources
from benchmarks import case_data
from benchmarks.case_data import Inputs
from benchmarks.case_process.conftest import Engine
from benchmarks.case_process.events import EventLog, ModelSaved, Scored
from benchmarks.case_process.phase_timer import Timer
from benchmarks.cases import LARGEST_WARMUP, Case
from benchmarks.results.records import Quality
from datasets import scores
from datasets.flowers import real_flowers
from datasets.synthetic import posterior

COLD = ("load", "train", "predict_one", "predict", "save", "restore")
WARM = ("load", "train", "predict", "predict_one", "save", "restore")


class Pass:
    """One pass of an adapter over one dataset. Each phase is a method without arguments, called in order."""

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
        """Return the function that prepares each repeat of a phase. It is not timed."""

        def empty_folder() -> None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)

        return {"load": self.release, "save": empty_folder}.get(phase, lambda: None)

    def release(self) -> None:
        if self.table is not None:
            self.adapter.release(self.table)
            self.table = None


@pytest.fixture(scope="module")
def cold(engine: Engine, case: Case, inputs: Inputs, folder: Path) -> Pass:
    return Pass(engine.adapter, case, min(case.rows, LARGEST_WARMUP), inputs.warmup, folder / "cold")


@pytest.fixture(scope="module")
def warm(engine: Engine, case: Case, inputs: Inputs, folder: Path) -> Pass:
    return Pass(engine.adapter, case, case.rows, inputs.train, folder / "model")


def test_import(measure: Timer, engine: Engine, case: Case, inputs: Inputs, events: EventLog) -> None:
    registry.hide_others(case.framework)
    measure.once("import", lambda: engine.create(case.framework, case.track))
    if reason := engine.adapter.unsupported(case.model):
        events.fail("unsupported", reason)
        pytest.exit(f"unsupported: {reason}", returncode=0)


def test_start(measure: Timer, engine: Engine, resources: Resources) -> None:
    measure.once("start", lambda: engine.adapter.start(resources))


@pytest.mark.parametrize("phase", COLD)
def test_cold(phase: str, measure: Timer, cold: Pass) -> None:
    measure.cold(phase, getattr(cold, phase), cold.before(phase))
    if phase == COLD[-1]:
        cold.release()


@pytest.mark.parametrize("phase", WARM)
def test_warm(phase: str, measure: Timer, warm: Pass) -> None:
    if phase == "predict_one":
        measure.one_flower(warm.predict_one)
    else:
        measure.repeated(phase, getattr(warm, phase), warm.before(phase))


def test_quality(case: Case, inputs: Inputs, warm: Pass, events: EventLog, pytestconfig: pytest.Config) -> None:
    """Log the recipe as it ran, and score the model on unseen flowers.

    There are too few real flowers for a test set. Cross-validation scores their recipe instead of this model, so the
    first launch is enough.
    """
    events.begin("quality")
    adapter = warm.adapter
    size = sum(path.stat().st_size for path in warm.folder.rglob("*") if path.is_file())
    first = pytestconfig.option.launch == 1
    recipe = adapter.describe(warm.model) | {"predict_one": adapter.serving}
    build = adapter.build() if first else {}
    # As plain JSON, because adapters may return values such as np.float64.
    recipe, build = json.loads(json.dumps([recipe, build]))
    events.write(ModelSaved(time.monotonic(), recipe, build, size))
    if inputs.test or first:
        events.write(Scored(time.monotonic(), _score(case, inputs.test, warm)))
    events.end([])


def _score(case: Case, test: Path | None, warm: Pass) -> Quality:
    adapter = warm.adapter
    bayes: dict[str, float] = {}
    if test:
        features, species = case_data.test_rows(case.seed)
        truth = posterior(features)
        bayes["bayes_accuracy"] = scores.accuracy(species, truth.argmax(axis=1))
        bayes["bayes_log_loss"] = scores.log_loss(species, truth)
        table = adapter.load(test)
        probabilities = adapter.predict_proba(warm.model, table)
    else:
        species, probabilities = _cross_validate(adapter, case, warm.folder.parent)
    if not np.isfinite(probabilities).all():
        raise ValueError("the training diverged: the model predicts probabilities that are NaN or infinite")
    # The contract tests check that the predicted class is the one with the largest probability.
    accuracy, log_loss = scores.accuracy(species, probabilities.argmax(axis=1)), scores.log_loss(species, probabilities)
    gate = case_data.case_gate(case)
    failed, reference = gate.failed(accuracy, log_loss), gate.reference
    return Quality(
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


def _cross_validate(
    adapter: Adapter[Any, Any], case: Case, folder: Path
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return species and class probabilities of the real flowers. No model predicts flowers that it was trained on."""
    truth, probabilities = [], []
    for train, test, species in case_data.folds(case.seed, folder):
        table, unseen = adapter.load(train), adapter.load(test)
        truth.append(species)
        recipe = adapter.recipe(case.model, case.rows - len(species))
        probabilities.append(adapter.predict_proba(adapter.train(table, recipe, case.seed), unseen))
        adapter.release(table)
        adapter.release(unseen)
    return np.concatenate(truth), np.concatenate(probabilities)


def test_close(measure: Timer, engine: Engine) -> None:
    measure.once("close", engine.adapter.close)
