"""A model folder that the Spark adapter cannot have written is rejected before Spark reads it."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from adapters.base import Resources
from adapters.errors import ForeignModel
from datasets import store
from datasets.flowers import real_flowers
from tests.conftest import missing

GIB = 1 << 30


def part(folder: Path) -> Path:
    """Return the file in the folder `data` or `metadata` of a stage, and remove its checksum."""
    [file] = folder.glob("part-*")
    (folder / f".{file.name}.crc").unlink(missing_ok=True)
    return file


def stage(model: Path, number: int = 0) -> Path:
    return sorted((model / "model.spark" / "stages").iterdir())[number]


def metadata(model: Path, change: Callable[[dict[str, Any]], object], number: int = 0) -> None:
    """Change the metadata of a stage."""
    file = part(stage(model, number) / "metadata")
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def data(model: Path, change: Callable[[dict[str, Any]], object], schema: str = "") -> None:
    """Change the row of numbers of the classifier, and the class of its columns in the schema."""
    file = part(stage(model, -1) / "data")
    table = pa.parquet.read_table(file)
    [row] = table.to_pylist()
    change(row)
    named = table.schema
    if schema:
        named = named.with_metadata({k: v.replace(b"MatrixUDT", schema.encode()) for k, v in named.metadata.items()})
    pa.parquet.write_table(pa.Table.from_pylist([row], named), file, compression="snappy")


def beside(model: Path) -> None:
    """Add a file that Spark reads before the file `part-*`."""
    forged = {"class": "evil.Klass", "uid": "evil", "timestamp": 0, "sparkVersion": "4.3.0", "paramMap": {}}
    (stage(model) / "metadata" / "a-00000").write_text(json.dumps(forged))


def other_pipeline(model: Path) -> None:
    file = part(model / "model.spark" / "metadata")
    content = json.loads(file.read_text())
    content["paramMap"]["stageUids"] = ["../../../elsewhere"]
    file.write_text(json.dumps(content))


def nested(model: Path) -> None:
    copy = shutil.copytree(model / "model.spark", model / "inner")
    copy.rename(stage(model).with_name("1_PipelineModel_0123456789ab"))


def link(model: Path) -> None:
    moved = model.with_name("moved")
    (stage(model) / "data").rename(moved)
    (stage(model) / "data").symlink_to(moved)


def narrow(row: dict[str, Any]) -> None:
    row["numFeatures"] = row["coefficientMatrix"]["numCols"] = 3
    row["coefficientMatrix"]["values"] = row["coefficientMatrix"]["values"][:9]


FORGED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file beside the metadata": ("logistic", beside),
    "a stage outside the folder": ("logistic", other_pipeline),
    "a pipeline in the pipeline": ("logistic", nested),
    "a link": ("logistic", link),
    "a FIFO": ("logistic", lambda model: os.mkfifo(stage(model) / "data" / "_SUCCESS.fifo")),
    "a hidden file": ("logistic", lambda model: (stage(model) / "data" / ".hidden").touch()),
    "no stages": ("logistic", lambda model: shutil.rmtree(model / "model.spark" / "stages")),
    "a stage renamed": (
        "logistic",
        lambda model: stage(model).rename(stage(model).with_name("0_LogisticRegression_..")),
    ),
    "a class of Python": ("logistic", lambda model: metadata(model, lambda m: m.update({"class": "evil.Klass"}))),
    "metadata that are a list": ("logistic", lambda model: part(stage(model) / "metadata").write_text("[]")),
    "deep metadata": ("logistic", lambda model: part(stage(model) / "metadata").write_text("[" * 100_000)),
    "a second line": (
        "logistic",
        lambda model: part(stage(model) / "metadata").write_text('{"class": "evil.Klass"}\n{"class": "x"}\n'),
    ),
    "a parameter": ("logistic", lambda model: metadata(model, lambda m: m["paramMap"].update(thresholds=[0, 0, 1]))),
    "a column": ("mlp", lambda model: metadata(model, lambda m: m["defaultParamMap"].update(predictionCol="p"), 1)),
    "other layers": ("mlp", lambda model: metadata(model, lambda m: m["paramMap"].update(layers=[4, 1, 3]), 1)),
    "no scaling": ("mlp", lambda model: metadata(model, lambda m: m["paramMap"].update(withMean=False))),
    "a number that is text": ("logistic", lambda model: metadata(model, lambda m: m["paramMap"].update(tol="0.1"))),
    "a weight that is no number": (
        "logistic",
        lambda model: data(model, lambda row: row["coefficientMatrix"]["values"].__setitem__(0, math.nan)),
    ),
    "an infinite weight": (
        "mlp",
        lambda model: data(model, lambda row: row["weights"]["values"].__setitem__(5, math.inf)),
    ),
    "a weight too many": ("mlp", lambda model: data(model, lambda row: row["weights"]["values"].append(1.0))),
    "three features": ("logistic", lambda model: data(model, narrow)),
    "a column of another class": ("logistic", lambda model: data(model, lambda row: None, "EvilUDT")),
    "noise for numbers": ("logistic", lambda model: part(stage(model) / "data").write_bytes(b"PAR1 noise PAR1")),
    "a recipe that is a list": ("logistic", lambda model: (model / "recipe.json").write_text("[]")),
}


class TestForgedFolders:
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        if reason := missing("spark"):
            pytest.skip(reason)
        from adapters.spark_mllib import Spark

        with Spark() as adapter:
            adapter.start(Resources(1, GIB, tmp_path_factory.mktemp("engine")))
            yield adapter

    @pytest.fixture(scope="class")
    @classmethod
    def saved(cls, engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("saved")
        store.write(folder / "flowers.parquet", *real_flowers())
        table = engine.load(folder / "flowers.parquet")
        for model in ("logistic", "mlp"):
            (folder / model).mkdir()
            engine.save(engine.train(table, engine.recipe(model, 150), seed=0), folder / model)
        return folder

    def test_a_network_that_was_fitted_to_a_sample_first_is_restored(
        self, engine: Any, saved: Path, tmp_path: Path
    ) -> None:
        table = engine.load(saved / "flowers.parquet")
        recipe = replace(engine.recipe("mlp", 150), sample_rows=100, options={"iterations_on_sample": 5})
        trained = engine.train(table, recipe, seed=0)
        engine.save(trained, tmp_path)
        restored = engine.restore(tmp_path)
        assert engine.describe(restored) == engine.describe(trained)
        assert engine.predict(restored, table).tolist() == engine.predict(trained, table).tolist()

        def nan(content: Any) -> None:
            content["paramMap"]["initialWeights"]["values"][0] = float("nan")

        metadata(tmp_path, nan, 1)
        with pytest.raises(ForeignModel):
            engine.restore(tmp_path)

    @pytest.mark.parametrize("forgery", FORGED)
    def test_a_forged_folder_is_rejected(self, engine: Any, saved: Path, forgery: str, tmp_path: Path) -> None:
        model, forge = FORGED[forgery]
        shutil.copytree(saved / model, tmp_path / "model")
        engine.restore(tmp_path / "model")
        forge(tmp_path / "model")
        with pytest.raises(ForeignModel):
            engine.restore(tmp_path / "model")

    def test_a_folder_without_checksums_can_be_read(self, engine: Any, saved: Path, tmp_path: Path) -> None:
        shutil.copytree(saved / "mlp", tmp_path / "model")
        data(tmp_path / "model", lambda row: None)
        for number in (0, 1):
            metadata(tmp_path / "model", lambda content: None, number)
        restored = engine.restore(tmp_path / "model")
        assert engine.describe(restored) == engine.describe(engine.restore(saved / "mlp"))
