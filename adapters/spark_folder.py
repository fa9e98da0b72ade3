"""Load Spark's model folders, and reject files that `save` does not write.

Spark's reader of pipelines imports the classes that the files name. This module instead reads each stage as the class
that belongs to its folder name, so it never imports a class that a file names.
"""

from __future__ import annotations

import io
import json
import math
import re
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from pyspark.ml import PipelineModel
from pyspark.ml.classification import LogisticRegressionModel, MultilayerPerceptronClassificationModel
from pyspark.ml.feature import StandardScalerModel

from adapters.base import HIDDEN
from adapters.errors import ForeignModel
from datasets.files import read_json, read_regular
from errors import BadInput

LAYERS = [4, *HIDDEN["mlp"], 3]
N_WEIGHTS = sum((n + 1) * m for n, m in pairwise(LAYERS))
COLUMNS = {
    "labelCol": "species",
    "predictionCol": "prediction",
    "probabilityCol": "probability",
    "rawPredictionCol": "rawPrediction",
}


class Kind(NamedTuple):
    """A stage that `train` makes: its class, and the parameters that are not numbers."""

    model: Any
    java_class: str
    fixed: dict[str, Any]


KINDS = {
    "StandardScaler": Kind(
        StandardScalerModel,
        "org.apache.spark.ml.feature.StandardScalerModel",
        {"inputCol": "features", "outputCol": "scaled", "withMean": True, "withStd": True},
    ),
    "LogisticRegression": Kind(
        LogisticRegressionModel,
        "org.apache.spark.ml.classification.LogisticRegressionModel",
        COLUMNS | {"featuresCol": "features", "family": "auto", "fitIntercept": True, "standardization": True},
    ),
    "MultilayerPerceptronClassifier": Kind(
        MultilayerPerceptronClassificationModel,
        "org.apache.spark.ml.classification.MultilayerPerceptronClassificationModel",
        COLUMNS | {"featuresCol": "scaled", "layers": LAYERS, "solver": "l-bfgs"},
    ),
}
PIPELINES = (["StandardScaler", "MultilayerPerceptronClassifier"], ["LogisticRegression"])
NUMBERS = {
    *("aggregationDepth", "blockSize", "elasticNetParam", "maxBlockSizeInMB", "maxIter"),
    *("regParam", "seed", "stepSize", "threshold", "tol"),
}
PIPELINE = "org.apache.spark.ml.PipelineModel"
COLUMN_CLASSES = {"org.apache.spark.ml.linalg.VectorUDT", "org.apache.spark.ml.linalg.MatrixUDT"}

LARGEST_FILE_BYTES = 1 << 20
"""Limit of a file. A network of 131 weights has 4 kB."""

STAGE = re.compile(rf"([01])_({'|'.join(KINDS)})_([0-9a-f]{{12}})")
PART = r"part-00000-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-c000"
TEXT, PARQUET = re.compile(rf"{PART}\.txt"), re.compile(rf"{PART}\.snappy\.parquet")

Metadata = TypedDict(
    "Metadata", {"class": str, "uid": str, "paramMap": dict[str, Any], "defaultParamMap": dict[str, Any]}
)


def load(folder: Path) -> PipelineModel:
    """Return the pipeline in `folder`. Raise ForeignModel if `save` cannot have written it."""
    folder = folder.resolve()
    kinds = _check(folder)
    stages = [KINDS[kind].model.load(str(stage)) for stage, kind in kinds.items()]
    for stage in stages:
        _check_numbers(stage)
    return PipelineModel(stages)


def _check(folder: Path) -> dict[Path, str]:
    """Return the folder and the kind of each stage. Raise ForeignModel for unexpected names or contents of files."""
    _expect(folder, {"metadata", "stages"})
    metadata = _metadata(folder)
    matches = [STAGE.fullmatch(name) for name in sorted(_names(folder / "stages"))]
    kinds = {folder / "stages" / match[0]: match[2] for match in matches if match}
    if len(kinds) < len(matches) or list(kinds.values()) not in PIPELINES:
        raise ForeignModel(f"{folder / 'stages'} contains other stages than `train` makes")
    uids = [stage.name.partition("_")[2] for stage in kinds]
    if (metadata["class"], metadata["paramMap"]) != (PIPELINE, {"stageUids": uids}):
        raise ForeignModel(f"the pipeline in {folder} lists other stages than its folder contains")
    for stage, kind in kinds.items():
        _expect(stage, {"metadata", "data"})
        _check_stage(_metadata(stage), kind, stage)
        _check_data(stage / "data")
    return kinds


def _check_stage(metadata: Metadata, kind: str, stage: Path) -> None:
    """Raise ForeignModel unless a stage has the class and the parameters that `train` gives it."""
    if metadata["class"] != KINDS[kind].java_class:
        raise ForeignModel(f"{stage} has the class {metadata['class']}, which `train` does not make")
    parameters = metadata["defaultParamMap"] | metadata["paramMap"]
    expected = KINDS[kind].fixed | {name: parameters[name] for name in NUMBERS & parameters.keys()}
    wrong = {name for name in NUMBERS & parameters.keys() if type(parameters[name]) not in (int, float)}
    if kind == "MultilayerPerceptronClassifier" and _are_weights(parameters.get("initialWeights")):
        del parameters["initialWeights"]  # of a network that was fitted to a sample first
    wrong |= {name for name in parameters | expected if parameters.get(name) != expected.get(name)}
    if wrong:
        raise ForeignModel(f"{stage} has parameters that `train` does not set: {', '.join(sorted(wrong))}")


def _are_weights(value: Any) -> bool:
    """Return whether a value is a dense vector of Spark with a finite number per weight."""
    return (
        isinstance(value, dict)
        and value.keys() == {"type", "values"}
        and value["type"] == 1
        and isinstance(value["values"], list)
        and len(value["values"]) == N_WEIGHTS
        and all(type(number) in (int, float) and math.isfinite(number) for number in value["values"])
    )


def _check_data(folder: Path) -> None:
    """Raise ForeignModel unless the Parquet file has one row, and columns of classes that `save` writes."""
    content = read_regular(_only_file(folder, PARQUET), LARGEST_FILE_BYTES)
    try:
        with pa.parquet.ParquetFile(io.BytesIO(content)) as file:
            rows = file.metadata.num_rows
            schema = json.loads((file.metadata.metadata or {})[b"org.apache.spark.sql.parquet.row.metadata"])
    except (pa.ArrowException, OSError, ValueError, KeyError, RecursionError):
        raise ForeignModel(f"{folder} contains no Parquet file that Spark wrote") from None
    if rows != 1 or not COLUMN_CLASSES.issuperset(_classes(schema)):
        raise ForeignModel(f"{folder} contains other columns than `save` writes")


def _classes(node: Any) -> Iterator[str]:
    """Yield every class that a schema names, at any depth."""
    if isinstance(node, dict):
        yield from ([str(node["class"])] if "class" in node else [])
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _classes(child)


def _check_numbers(stage: Any) -> None:
    """Raise ForeignModel unless the numbers of a stage have the expected shapes and are finite."""
    shapes: list[tuple[int, ...]]
    if isinstance(stage, StandardScalerModel):
        arrays, shapes = [stage.mean, stage.std], [(4,), (4,)]
    elif isinstance(stage, LogisticRegressionModel):
        arrays, shapes = [stage.coefficientMatrix, stage.interceptVector], [(3, 4), (3,)]
    else:
        weights = sum((inputs + 1) * outputs for inputs, outputs in pairwise(LAYERS))
        arrays, shapes = [stage.weights], [(weights,)]
    values = [array.toArray() for array in arrays]
    found = [value.shape for value in values]
    if found != shapes or getattr(stage, "numClasses", 3) != 3:
        raise ForeignModel(f"its numbers have the shapes {found} instead of {shapes}, or it does not have 3 classes")
    if not all(np.isfinite(value).all() for value in values):
        raise ForeignModel("its weights are not all finite numbers")


def _metadata(folder: Path) -> Metadata:
    """Return the metadata of a stage. There must be only one file, because Spark reads the first line of all files."""
    try:
        return read_json(_only_file(folder / "metadata", TEXT), Metadata)
    except BadInput as problem:
        raise ForeignModel(str(problem)) from None


def _only_file(folder: Path, pattern: re.Pattern[str]) -> Path:
    """Return the only data file in `folder`. Raise ForeignModel for other files than Spark's markers and checksums."""
    parts = [name for name in _names(folder) if pattern.fullmatch(name)]
    if len(parts) != 1:
        raise ForeignModel(f"{folder} must contain one file that Spark wrote; it contains {len(parts)}")
    _expect(folder, {parts[0], f".{parts[0]}.crc", "_SUCCESS", "._SUCCESS.crc"}, stat.S_ISREG)
    return folder / parts[0]


def _expect(folder: Path, names: set[str], kind: Any = stat.S_ISDIR) -> None:
    """Raise ForeignModel if `folder` contains other names than `names`, or a link, or another kind of file."""
    for name in sorted(_names(folder)):
        if name not in names or not kind((folder / name).lstat().st_mode):
            raise ForeignModel(f"{folder / name} is not a file that `save` writes")


def _names(folder: Path) -> set[str]:
    """Return the names in `folder`. Raise ForeignModel if it is not a folder."""
    if folder.is_symlink() or not folder.is_dir():
        raise ForeignModel(f"{folder} is missing or not a folder")
    return {entry.name for entry in folder.iterdir()}
