"""Spark ML: a local session in a private JVM on 127.0.0.1."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
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
from adapters.base import HIDDEN, Adapter, Recipe, Resources
from adapters.errors import ForeignModel, NoSpecies, Unavailable
from adapters.spark_jvm import Jvm
from datasets import store
from datasets.files import read_json
from datasets.flowers import FEATURES
from datasets.streaming import OnDisk
from errors import BadInput

LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c: %m%n%ex
"""

LOGISTIC, PERCEPTRON = "LogisticRegression", "MultilayerPerceptronClassifier"

SMALL_ROWS = 50_000
"""Largest number of rows for which one partition is faster than a partition per thread."""

CONSTANT_MEMORY_SETTINGS = {
    f"spark.{kind}": "1" for kind in ("ui.retainedJobs", "ui.retainedStages", "sql.ui.retainedExecutions")
}
"""By default, Spark keeps its last 1,000 jobs, stages and queries, for its web pages, even if it serves none."""

PARTITION_ROWS = 1 << 22
"""Largest partition, so that the memory of a task does not grow with the number of rows."""


class Table(NamedTuple):
    """A data frame. `streamed` means that each pass reads it from the disk, because it does not fit in memory."""

    frame: DataFrame
    rows: int
    streamed: bool


class Model:
    """A fitted pipeline, and its scaling in Python for the prediction of one flower."""

    def __init__(self, pipeline: PipelineModel, recipe: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.recipe = recipe
        *scalers, self.classifier = cast(list[Any], pipeline.stages)
        self.factor, self.offset = np.ones(4), np.zeros(4)
        for scaler in scalers:
            mean, std = scaler.mean.toArray(), scaler.std.toArray()
            self.factor = np.divide(1.0, std, out=np.zeros(4), where=std > 0)
            self.offset = -mean * self.factor


class Spark(Adapter[Table, Model]):
    """Spark ML.

    `default`: the estimators with their defaults, without the penalty of the first example on
    https://spark.apache.org/docs/latest/ml-classification-regression.html.

    `tuned`: fewer, larger steps, on scaled vectors that stay in memory.
    """

    serving = "model.predict on a vector, in the JVM, without a job"
    _spark: SparkSession | None = None
    _jvm: Jvm | None = None
    _assembler: VectorAssembler | None = None
    """The assembler of all tables if memory must be constant. Spark compiles code for the random name of each one."""

    def unsupported(self, model: str) -> str | None:
        if model == "deep":
            return "its network has no ReLU: with sigmoids, 100,000 rows did not converge in 4 minutes on 2 cores"
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
            environment["MALLOC_ARENA_MAX"] = "2"  # by default, glibc keeps up to eight memory pools per core
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
        # The Scala object itself, because the class with its name does not forward private methods.
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
        # Read file by file, because Spark reads the files of a folder in the order of their sizes.
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

    def recipe(self, model: str, rows: int) -> Recipe:
        algorithm = LOGISTIC if model == "logistic" else PERCEPTRON
        if self.track == "default":
            return Recipe(model, algorithm)
        if model == "logistic":
            return Recipe(model, algorithm, tolerance=1e-3 if rows < 10_000 else 1e-2)
        if rows < 100_000:
            # The quality gate is wider here, and more iterations would overfit.
            return Recipe(model, algorithm, tolerance=1e-4, max_iterations=20)
        # Most iterations run on a sample, where they are fast.
        options = {"iterations_on_sample": 100}
        return Recipe(model, algorithm, tolerance=1e-4, max_iterations=3, sample_rows=20_000, options=options)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        own = self.recipe(model, rows)
        if model == "logistic":
            return [
                *(replace(own, tolerance=tolerance) for tolerance in (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)),
                *(replace(own, options={"maxBlockSizeInMB": size}) for size in (0.25, 4.0)),
            ]
        whole = replace(own, sample_rows=None, options={})
        if rows < 100_000:
            return [
                replace(whole, max_iterations=most, options={"blockSize": size})
                for most in (20, 30, 60)
                for size in (128, 1024)
            ]
        return [
            replace(whole, max_iterations=100),
            *(
                replace(own, max_iterations=most, sample_rows=sample, options={"iterations_on_sample": on_sample})
                for sample in (20_000, 50_000)
                for on_sample in (60, 100)
                for most in (3, 10)
            ),
        ]

    def train(self, table: Table, recipe: Recipe, seed: int) -> Model:
        if "species" not in table.frame.columns:
            raise NoSpecies
        as_ran: dict[str, Any] = {"streamed": table.streamed}
        if recipe.model == "logistic":
            # Spark scales the features, and converts the coefficients back to cm.
            estimator = LogisticRegression(labelCol="species", **_parameters(recipe))
            model = estimator.fit(table.frame)
            as_ran["iterations"] = model.summary.totalIterations
            return Model(PipelineModel([model]), as_ran)
        scaler = StandardScaler(withMean=True, inputCol="features", outputCol="scaled").fit(table.frame)
        network = _fit_network(scaler.transform(table.frame), table.rows, recipe, seed, as_ran)
        return Model(PipelineModel([scaler, network]), as_ran)

    def predict(self, model: Model, table: Table) -> NDArray[np.int8]:
        scored = model.pipeline.transform(table.frame)
        rows = scored.selectExpr("cast(prediction as tinyint) as label").toArrow()
        labels: NDArray[np.int8] = rows["label"].to_numpy()
        return labels

    def predict_proba(self, model: Model, table: Table) -> NDArray[np.float32]:
        scored = model.pipeline.transform(table.frame)
        rows = scored.select(vector_to_array(scored.probability, "float32").alias("p")).toArrow()
        probabilities: NDArray[np.float32] = rows["p"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
        return probabilities

    def predict_one(self, model: Model, flower: NDArray[np.float32]) -> int:
        return int(model.classifier.predict(Vectors.dense(flower * model.factor + model.offset)))

    def save(self, model: Model, folder: Path) -> None:
        model.pipeline.write().overwrite().save(str((folder / "model.spark").resolve()))
        (folder / "recipe.json").write_text(json.dumps(model.recipe))

    def restore(self, folder: Path) -> Model:
        try:
            recipe = read_json(folder / "recipe.json", dict[str, Any])
        except BadInput as problem:
            raise ForeignModel(str(problem)) from None
        return Model(spark_folder.load(folder / "model.spark"), recipe)

    def name_of(self, model: Model) -> str:
        return "logistic" if isinstance(model.classifier, LogisticRegressionModel) else "mlp"

    def describe(self, model: Model) -> dict[str, Any]:
        stage = model.classifier
        recipe = {
            "algorithm": LOGISTIC if isinstance(stage, LogisticRegressionModel) else PERCEPTRON,
            "solver": "L-BFGS",
            "tolerance": stage.getTol(),
            "max_iterations": stage.getMaxIter(),
        }
        if isinstance(stage, LogisticRegressionModel):
            recipe["l2"] = stage.getRegParam()
        else:
            recipe |= {"hidden": stage.getLayers()[1:-1], "activation": "sigmoid"}
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
    """Return a transformer that joins the four features in a vector."""
    return VectorAssembler(inputCols=list(FEATURES), outputCol="features")


def _parameters(recipe: Recipe) -> dict[str, Any]:
    """Return the settings under the names that Spark gives them."""
    named = {"tol": recipe.tolerance, "maxIter": recipe.max_iterations}
    options = {name: value for name, value in recipe.options.items() if name != "iterations_on_sample"}
    return {name: value for name, value in named.items() if value is not None} | options


def _fit_network(
    scaled: DataFrame, rows: int, recipe: Recipe, seed: int, as_ran: dict[str, Any]
) -> MultilayerPerceptronClassificationModel:
    """Fit a network to the column `scaled`, first on a sample if the recipe has one that is smaller than the table."""
    network = MultilayerPerceptronClassifier(
        layers=[4, *HIDDEN[recipe.model], 3],
        featuresCol="scaled",
        labelCol="species",
        seed=seed,
        **_parameters(recipe),
    )
    if recipe.sample_rows and recipe.sample_rows < rows:
        sample = scaled.sample(recipe.sample_rows / rows, seed).coalesce(1).persist()
        fitted = network.copy().setMaxIter(recipe.options["iterations_on_sample"]).fit(sample)
        sample.unpersist()
        as_ran |= {"sample_rows": recipe.sample_rows, "iterations_on_sample": fitted.summary().totalIterations}
        network.setInitialWeights(fitted.weights)
    fitted = network.fit(scaled)
    as_ran["iterations"] = fitted.summary().totalIterations
    return fitted
