"""Spark ML: a local session in a JVM of our own, bound to 127.0.0.1."""

from __future__ import annotations

import json
import os
import shlex
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml.classification import (
    LogisticRegression,
    LogisticRegressionModel,
    MultilayerPerceptronClassificationModel,
    MultilayerPerceptronClassifier,
)
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from adapters import java, spark_folder
from adapters.base import HIDDEN, Adapter, Resources
from adapters.errors import ForeignModel, NoSpecies, Unavailable
from adapters.spark_jvm import Jvm
from commandline import BadInput
from datasets import store
from datasets.files import read_json
from datasets.flowers import FEATURES
from datasets.streaming import OnDisk

LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c: %m%n%ex
"""

SMALL_ROWS = 50_000
"""Up to here one partition is faster than one a thread: adding up the parts takes longer than an iteration's sums."""

CONSTANT_MEMORY_SETTINGS = {
    f"spark.{kind}": "1" for kind in ("ui.retainedJobs", "ui.retainedStages", "sql.ui.retainedExecutions")
}
"""By default Spark remembers its last 1,000 jobs, stages and queries, for its web pages, even where it serves none."""

PARTITION_ROWS = 1 << 22
"""Rows of a partition at most, once there are more than threads: what one task holds at a time."""


class Table(NamedTuple):
    """`streamed`: read from the disk in each pass, since it would not fit in memory."""

    frame: DataFrame
    rows: int
    streamed: bool


class Model:
    """A fitted pipeline, and the scaling that its classifier wants of a flower, kept at hand in Python."""

    def __init__(self, pipeline: PipelineModel, recipe: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.recipe = recipe
        *scalers, self.classifier = cast(list[Any], pipeline.stages)
        self.factor, self.summand = np.ones(4), np.zeros(4)
        for scaler in scalers:
            mean, std = scaler.mean.toArray(), scaler.std.toArray()
            self.factor = np.divide(1.0, std, out=np.zeros(4), where=std > 0)
            self.summand = -mean * self.factor


class Spark(Adapter):
    """`default`: the estimators as they come. `tuned`: fewer, larger steps, on scaled vectors that stay in memory."""

    serving = "model.predict on a vector, in the JVM, without a job"
    _spark: SparkSession | None = None
    _jvm: Jvm | None = None
    _assembler: VectorAssembler | None = None
    """The one for all tables. Its random name is part of the code that Spark compiles and keeps, 100 times over."""

    def supports(self, model: str) -> str | None:
        if model == "deep":
            return "its network has no ReLU, only sigmoids: 100,000 rows were not learned in 4 minutes on 2 cores"
        return None

    def start(self, resources: Resources) -> None:
        if reason := java.missing("jdk.incubator.vector"):
            raise Unavailable(reason)
        self._threads = resources.threads
        self._memory_bytes = resources.memory_bytes
        folder = resources.folder.resolve()
        self.log = folder / "spark.log"
        log4j = folder / "log4j2.properties"
        log4j.write_text(LOG4J.format(log=self.log))
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        jvm_options = [*java.options(resources), f"-Dlog4j2.configurationFile={log4j.as_uri()}"]
        environment = {}
        if resources.constant_memory:
            environment["MALLOC_ARENA_MAX"] = "2"  # by default glibc keeps up to eight pools per core
        settings = (CONSTANT_MEMORY_SETTINGS if resources.constant_memory else {}) | {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": f"{java.heap_bytes(resources.memory_bytes) >> 20}m",
            "spark.driver.extraJavaOptions": shlex.join(jvm_options),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.local.dir": str(folder / "spark"),
            "spark.sql.warehouse.dir": str(folder / "spark" / "warehouse"),
            "spark.sql.adaptive.enabled": "false",
            "spark.sql.shuffle.partitions": str(resources.threads),
            "spark.sql.files.minPartitionNum": str(resources.threads),
            "spark.sql.execution.arrow.pyspark.enabled": "true",
        }
        self._jvm = Jvm(folder)
        self._spark = self._jvm.start(
            resources.cluster or f"local[{resources.threads}]", settings, self.log, environment
        )
        if resources.constant_memory:
            self._assembler = _assembler()

    def build(self) -> dict[str, Any]:
        assert self._spark
        jvm: Any = self._spark.sparkContext._jvm
        # Scala's object itself, since the class of its name forwards no private methods.
        blas = getattr(getattr(jvm.org.apache.spark.ml.linalg, "BLAS$"), "MODULE$")
        return {
            "version": self._spark.version,
            "java": jvm.java.lang.System.getProperty("java.version"),
            "blas": blas.nativeBLAS().getClass().getName(),
            "blas_of_vectors": blas.javaBLAS().getClass().getName(),
        }

    def load(self, path: Path) -> Table:
        assert self._spark
        on_disk = OnDisk.at(path)
        # File by file, since Spark reads the files of a folder in the order of their sizes.
        parts = [self._spark.read.parquet(str(part.resolve())) for part in store.part_files(path)]
        rows = reduce(DataFrame.unionAll, parts)
        vectors = (self._assembler or _assembler()).transform(rows)
        kept = [name for name in ("features", "species") if name in vectors.columns]
        if self.track == "tuned" and len(on_disk) <= SMALL_ROWS:
            partitions = 1
        else:
            partitions = self._threads * -(-len(on_disk) // (self._threads * PARTITION_ROWS))
        frame = vectors.select(*kept).coalesce(partitions)
        streamed = self.track == "tuned" and not on_disk.fits(self._memory_bytes)
        if not streamed:
            frame.persist(StorageLevel.MEMORY_ONLY).count()
        return Table(frame, len(on_disk), streamed)

    def release(self, table: Table) -> None:
        table.frame.unpersist(blocking=True)

    def train(self, table: Table, model: str, seed: int) -> Model:
        if "species" not in table.frame.columns:
            raise NoSpecies
        recipe = dict(self.instead or self.recipe(model, table.rows))
        if model == "logistic":
            # It scales the features itself, and takes its coefficients back to cm.
            stages = [LogisticRegression(labelCol="species", **recipe).fit(table.frame)]
        else:
            scaler = StandardScaler(withMean=True, inputCol="features", outputCol="scaled").fit(table.frame)
            stages = [scaler, _fit_network(scaler.transform(table.frame), table.rows, model, seed, **recipe)]
        return Model(PipelineModel(stages), {"streamed": table.streamed})

    def recipe(self, model: str, rows: int, streamed: bool = False) -> dict[str, Any]:
        if self.track == "default":
            return {}
        if model == "logistic":
            return {"tol": 1e-1}
        if rows < 100_000:
            # The target is lower there, and more iterations learn few flowers by heart.
            return {"tol": 1e-4, "maxIter": 20}
        # Most of the way by some of the rows, which takes an instant an iteration.
        return {"tol": 1e-4, "maxIter": 60, "sample_rows": 20_000, "full_iterations": 3}

    def candidates(self, model: str, rows: int) -> list[dict[str, Any]]:
        if model == "logistic":
            return [
                *({"tol": tolerance} for tolerance in (3e-2, 1e-2, 1e-3)),
                *({"tol": 1e-2, "maxIter": most} for most in (5, 10)),
                *({"tol": 1e-1, "maxBlockSizeInMB": size} for size in (0.25, 4.0)),
            ]
        if rows < 100_000:
            return [{"tol": 1e-4, "maxIter": most, "blockSize": size} for most in (20, 30, 60) for size in (128, 1024)]
        return [
            {"tol": 1e-4, "maxIter": 60},
            {"tol": 1e-4, "maxIter": 30, "sample_rows": 50_000, "full_iterations": 10},
            *(
                {"tol": 1e-4, "maxIter": 60, "sample_rows": sample, "full_iterations": full}
                for sample in (20_000, 50_000)
                for full in (3, 5, 10)
            ),
        ]

    def predict(self, model: Model, table: Table) -> NDArray[np.int8]:
        codes = model.pipeline.transform(table.frame).selectExpr("cast(prediction as tinyint) as code").toArrow()
        return codes["code"].to_numpy()

    def predict_proba(self, model: Model, table: Table) -> NDArray[np.float32]:
        scored = model.pipeline.transform(table.frame)
        rows = scored.select(vector_to_array(scored.probability, "float32").alias("p")).toArrow()
        return rows["p"].combine_chunks().flatten().to_numpy().reshape(-1, 3)

    def predict_one(self, model: Model, flower: NDArray[np.float32]) -> int:
        return int(model.classifier.predict(Vectors.dense(flower * model.factor + model.summand)))

    def save(self, model: Model, folder: Path) -> None:
        model.pipeline.write().overwrite().save(str((folder / "model.spark").resolve()))
        (folder / "recipe.json").write_text(json.dumps(model.recipe))

    def restore(self, folder: Path) -> Model:
        try:
            recipe = read_json(folder / "recipe.json", dict[str, bool])
        except BadInput as problem:
            raise ForeignModel(str(problem)) from None
        return Model(spark_folder.load(folder / "model.spark"), dict(recipe))

    def name_of(self, model: Model) -> str:
        return "logistic" if isinstance(model.classifier, LogisticRegressionModel) else "mlp"

    def describe(self, model: Model) -> dict[str, Any]:
        stage = model.classifier
        recipe: dict[str, Any] = {"solver": "L-BFGS", "tolerance": stage.getTol(), "max_iterations": stage.getMaxIter()}
        if isinstance(stage, LogisticRegressionModel):
            recipe["regularisation"] = stage.getRegParam()
        else:
            recipe |= {"hidden": stage.getLayers()[1:-1], "activation": "sigmoid, the only one that Spark has"}
        return recipe | model.recipe | {"threads": self._threads}

    def close(self) -> None:
        self._spark = None
        if self._jvm is not None:
            jvm, self._jvm = self._jvm, None
            jvm.end()

    def __exit__(self, *error: object) -> None:
        if self._jvm and error[0] is not None and not isinstance(error[1], Exception):  # Ctrl-C or another signal
            self._jvm.kill()
        self.close()


def _assembler() -> VectorAssembler:
    return VectorAssembler(inputCols=list(FEATURES), outputCol="features")


def _fit_network(
    scaled: DataFrame, rows: int, model: str, seed: int, sample_rows: int = 0, full_iterations: int = 0, **recipe: Any
) -> MultilayerPerceptronClassificationModel:
    """A network of the column `scaled`: of a sample first, where there are more rows, and from there on of all."""
    network = MultilayerPerceptronClassifier(
        layers=[4, *HIDDEN[model], 3], featuresCol="scaled", labelCol="species", seed=seed, **recipe
    )
    if 0 < sample_rows < rows:
        sample = scaled.sample(sample_rows / rows, seed).coalesce(1).persist()
        network.setInitialWeights(network.fit(sample).weights).setMaxIter(full_iterations)
        sample.unpersist()
    return network.fit(scaled)
