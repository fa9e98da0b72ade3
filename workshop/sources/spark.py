# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (irisbench)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same refactoring in Spark
#
# Spark cuts a table into partitions and sends the work to where they are: on one machine to its cores, in a cluster to other
# machines. Nothing happens when you describe a step; it happens when somebody needs the result.
#
# | | PyTorch | Spark (MLlib) |
# |---|---|---|
# | the data | tensors | a data frame of partitions, evaluated late |
# | features | a tensor of shape (n, 4) | one column of vectors, made by `VectorAssembler` |
# | the network | a class that you write | `layers=[4, 16, 3]`, with sigmoids only: no ReLU, and so no deep network that learns well |
# | scaling | your part | a stage of the pipeline |
# | the optimiser | your choice, in mini-batches | L-BFGS over all rows, one pass an iteration |
# | what is saved | weights | the whole pipeline, as a folder of JSON and Parquet |
# | GPU | yes | not by itself |

# %%

import os
import sys

os.environ["PYSPARK_PYTHON"] = sys.executable

import numpy as np
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import MultilayerPerceptronClassifier
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession

from datasets.flowers import FEATURES, SPECIES, real_flowers

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.ui.enabled", False)
    # On a shared computer, other users cannot talk to this session:
    .config("spark.authenticate", True)
    .config("spark.python.unix.domain.socket.enabled", True)
    .config("spark.sql.shuffle.partitions", 2)
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")  # the optimiser calls it an error that a step had to be shortened

# %% [markdown]
# ## Train

# %%
features, species = real_flowers()
rows = [(*map(float, row), float(code)) for row, code in zip(features, species)]
table = spark.createDataFrame(rows, [*FEATURES, "label"])
pipeline = Pipeline(
    stages=[
        VectorAssembler(inputCols=list(FEATURES), outputCol="measurements"),
        StandardScaler(inputCol="measurements", outputCol="features", withMean=True),
        MultilayerPerceptronClassifier(layers=[4, 16, 3], maxIter=100, seed=0),
    ]
)
model = pipeline.fit(table)

# %% [markdown]
# ## Save and restore

# %%
model.write().overwrite().save("spark-model")
restored = PipelineModel.load("spark-model")

# %% [markdown]
# ## Infer

# %%
codes = np.array([row.prediction for row in restored.transform(table).select("prediction").collect()], dtype=int)
accuracy = float((codes == species).mean())
print(f"{accuracy:.3f} of the flowers that it has learned are named rightly; the first is {SPECIES[codes[0]]}")

# %% [markdown]
# `transform` plans a job, even for one flower. A web service asks the last stage itself, on a vector:

# %%
scaler, network = restored.stages[1:]
flower = (features[0] - scaler.mean.toArray()) / scaler.std.toArray()
print(SPECIES[int(network.predict(Vectors.dense(flower)))])

# %%
spark.stop()
