"""Spark ML: a local session in a JVM of our own, bound to 127.0.0.1."""

from __future__ import annotations

import os
import shlex
from functools import reduce
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression, MultilayerPerceptronClassifier
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from adapters import java
from adapters.base import HIDDEN, Adapter, Resources
from adapters.errors import NoSpecies, Unavailable
from datasets import store
from datasets.flowers import FEATURES

LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c: %m%n%ex
"""


class Spark(Adapter):
    """`default`: the estimators as they come. `tuned`: fewer, larger steps, on scaled vectors that stay in memory."""

    _spark: SparkSession | None = None
    _gateway: Any = None

    def start(self, resources: Resources) -> None:
        if reason := java.missing("jdk.incubator.vector"):
            raise Unavailable(reason)
        self._threads = resources.threads
        folder = resources.folder.resolve()
        self.log = folder / "spark.log"
        log4j = folder / "log4j2.properties"
        log4j.write_text(LOG4J.format(log=self.log))
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        jvm_options = [*java.options(resources), f"-Dlog4j2.configurationFile={log4j.as_uri()}"]
        settings = {
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
        conf = SparkConf().setMaster(resources.cluster or f"local[{resources.threads}]").setAppName("irisbench")
        conf.setAll(list(settings.items()))
        # The JVM lives no longer than this process: it ends with its input, which is a pipe from us.
        with self.log.open("ab") as log:
            self._gateway = launch_gateway(conf, popen_kwargs={"stdout": log, "stderr": log})
        self._spark = SparkSession(SparkContext(conf=conf, gateway=self._gateway))

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

    def load(self, path: Path) -> DataFrame:
        assert self._spark
        store.check_columns(path)
        # File by file, since Spark reads the files of a folder in the order of their sizes.
        parts = [self._spark.read.parquet(str(part.resolve())) for part in store.part_files(path)]
        rows = reduce(DataFrame.unionAll, parts)
        vectors = VectorAssembler(inputCols=list(FEATURES), outputCol="features").transform(rows)
        kept = [name for name in ("features", "species") if name in vectors.columns]
        table = vectors.select(*kept).coalesce(self._threads).persist(StorageLevel.MEMORY_ONLY)
        table.count()
        return table

    def release(self, table: DataFrame) -> None:
        table.unpersist(blocking=True)

    def train(self, table: DataFrame, model: str, seed: int) -> PipelineModel:
        if "species" not in table.columns:
            raise NoSpecies
        tuned: dict[str, Any] = {}
        if model == "logistic":
            if self.track == "tuned":
                tuned = {"tol": 1e-2}
            # It scales the features itself, and takes its coefficients back to cm.
            return Pipeline(stages=[LogisticRegression(labelCol="species", **tuned)]).fit(table)
        if self.track == "tuned":
            # More iterations learn few flowers by heart.
            tuned = {"tol": 1e-4, "maxIter": 60 if table.count() >= 1_000 else 20}
        scaler = StandardScaler(withMean=True, inputCol="features", outputCol="scaled")
        network = MultilayerPerceptronClassifier(
            layers=[4, *HIDDEN[model], 3], featuresCol="scaled", labelCol="species", seed=seed, **tuned
        )
        return Pipeline(stages=[scaler, network]).fit(table)

    def predict(self, model: PipelineModel, table: DataFrame) -> NDArray[np.int8]:
        codes = model.transform(table).selectExpr("cast(prediction as tinyint) as code").toArrow()
        return codes["code"].to_numpy()

    def predict_proba(self, model: PipelineModel, table: DataFrame) -> NDArray[np.float32]:
        scored = model.transform(table)
        rows = scored.select(vector_to_array(scored.probability, "float32").alias("p")).toArrow()
        return rows["p"].combine_chunks().flatten().to_numpy().reshape(-1, 3)

    def predict_one(self, model: PipelineModel, flower: NDArray[np.float32]) -> int:
        vector = Vectors.dense(flower.tolist())
        *scalers, classifier = cast(list[Any], model.stages)
        for scaler in scalers:
            mean, std = scaler.mean.toArray(), scaler.std.toArray()
            scaled = np.divide(vector.toArray() - mean, std, out=np.zeros(4), where=std > 0)
            vector = Vectors.dense(scaled)
        return int(classifier.predict(vector))

    def save(self, model: PipelineModel, folder: Path) -> None:
        model.write().overwrite().save(str((folder / "model.spark").resolve()))

    def restore(self, folder: Path) -> PipelineModel:
        return PipelineModel.load(str((folder / "model.spark").resolve()))

    def describe(self, model: PipelineModel) -> dict[str, Any]:
        *scalers, stage = cast(list[Any], model.stages)
        recipe: dict[str, Any] = {"solver": "L-BFGS", "tolerance": stage.getTol(), "max_iterations": stage.getMaxIter()}
        if scalers:
            recipe |= {"hidden": stage.getLayers()[1:-1], "activation": "sigmoid, the only one that Spark has"}
        else:
            recipe["regularisation"] = stage.getRegParam()
        return recipe | {"threads": self._threads}

    def close(self) -> None:
        if self._spark is not None:
            self._spark.stop()
            self._spark = None
        if self._gateway is not None:
            gateway, self._gateway = self._gateway, None
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait()
            # PySpark would hand the next session of this process the gateway that has just ended.
            SparkContext._gateway = SparkContext._jvm = None
