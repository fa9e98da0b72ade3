"""A forged model file is rejected in one line, and no code in it is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests import model_folders
from tests.conftest import ROOT, Command, TrainedModel, one_line

FLOWERS = ROOT / "datasets" / "iris.csv"


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def forge_scikit_learn(folder: Path, marker: Path) -> None:
    import skops.io
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(make_pipeline(FunctionTransformer(os.system)), folder / "model.skops")


def forge_other_estimator(folder: Path, marker: Path) -> None:
    import skops.io
    from sklearn.dummy import DummyClassifier

    skops.io.dump(DummyClassifier(), folder / "model.skops")


def forge_pytorch(folder: Path, marker: Path) -> None:
    (folder / "model.pt").write_bytes(pickle.dumps(Bomb(marker)))


def forge_other_weights(folder: Path, marker: Path) -> None:
    import torch

    torch.save({"weights": torch.zeros(3)}, folder / "model.pt")


def forge_tensorflow(folder: Path, marker: Path) -> None:
    import keras

    touch = f"touch {marker}"
    layer = keras.layers.Lambda(lambda x: (os.system(touch), x[:, :3])[1])
    keras.Sequential([keras.Input((4,)), layer]).save(folder / "model.keras")
    marker.unlink(missing_ok=True)


def forge_other_network(folder: Path, marker: Path) -> None:
    import keras

    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(folder / "model.keras")


def forge_h2o(folder: Path, marker: Path) -> None:
    (folder / "model.h2o").write_bytes(pickle.dumps(Bomb(marker)))


def forge_spark(folder: Path, marker: Path) -> None:
    """Name a module of the attacker as the class of a stage. PySpark would import it."""
    (ROOT / "bomb.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    stage = next((folder / "model.spark" / "stages").iterdir()) / "metadata"
    for left in stage.iterdir():
        if left.name.startswith("part-"):
            metadata = json.loads(left.read_text()) | {"class": "bomb.Model", "language": "Python"}
            left.write_text(json.dumps(metadata))
        if left.name.endswith(".crc"):
            left.unlink()


def forge_spark_beside(folder: Path, marker: Path) -> None:
    """Add a file that Spark reads before the metadata of the stage. PySpark would import its class."""
    (ROOT / "bomb.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    stage = next((folder / "model.spark" / "stages").iterdir()) / "metadata"
    forged = {"class": "bomb.Model", "timestamp": 0, "sparkVersion": "4.3.0", "uid": "bomb", "paramMap": {}}
    (stage / "a-00000").write_text(json.dumps(forged))


@pytest.mark.parametrize(
    ("framework", "forge"),
    [
        ("scikit-learn", forge_scikit_learn),
        ("scikit-learn", forge_other_estimator),
        ("pytorch-cpu", forge_pytorch),
        ("pytorch-cpu", forge_other_weights),
        ("tensorflow-cpu", forge_tensorflow),
        ("tensorflow-cpu", forge_other_network),
        ("h2o", forge_h2o),
        ("spark", forge_spark),
        ("spark", forge_spark_beside),
    ],
)
def test_a_forged_file_is_rejected_and_not_run(
    framework: str,
    forge: Callable[[Path, Path], None],
    trained_model: TrainedModel,
    command: Command,
    tmp_path: Path,
) -> None:
    model, marker, answer = tmp_path / "model", tmp_path / "it-ran", tmp_path / "named.csv"
    shutil.copytree(trained_model(framework), model)
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # TensorFlow is configured once per process
            alone.submit(forge, model / "model", marker).result()
        model_folders.sign(model)  # as an attacker would
        line = one_line(command("adapters", "predict", "--model", model, "--data", FLOWERS, "--output", answer))
    finally:
        (ROOT / "bomb.py").unlink(missing_ok=True)
    assert f"contains a model that {framework} cannot read" in line
    assert not marker.exists()
    assert not answer.exists()
