"""TensorFlow: a Keras 3 model, on the CPU or on a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from adapters.base import HIDDEN, Adapter, Resources
from adapters.errors import NoSpecies, Unavailable
from adapters.minibatch import Schedule, schedule
from datasets import store

PREDICT_ROWS = 1 << 17
"""Rows that are fed forward at a time: enough to keep the cores busy, few enough to keep memory flat."""

GUARD = """\
import sys
sys.path.append(sys.argv[1])
import _pywrap_cpu_feature_guard
_pywrap_cpu_feature_guard.InfoAboutUnusedCPUFeatures()
"""


class Table(NamedTuple):
    features: tf.Tensor
    species: tf.Tensor | None


class Model:
    """A Keras model with its recipe, and its forward pass compiled once."""

    def __init__(self, network: keras.Model, recipe: dict[str, Any]) -> None:
        self.network = network
        self.recipe = recipe
        signature = [tf.TensorSpec((None, 4), tf.float32)]
        self.forward = tf.function(network, input_signature=signature).get_concrete_function()


class TensorFlow(Adapter):
    """`default`: compile and fit, as the quickstart does. `tuned`: one tf.function runs an epoch."""

    def start(self, resources: Resources) -> None:
        gpus = tf.config.list_physical_devices("GPU")
        if resources.device == "cuda" and not gpus:
            raise Unavailable(
                f"tensorflow {tf.__version__} finds no GPU that it can use. Type: uv pip install 'tensorflow[and-cuda]'"
            )
        try:
            tf.config.set_visible_devices(gpus if resources.device == "cuda" else [], "GPU")
            tf.config.threading.set_intra_op_parallelism_threads(resources.threads)
            tf.config.threading.set_inter_op_parallelism_threads(resources.threads)
            for gpu in tf.config.get_visible_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            raise Unavailable("TensorFlow's threads and devices are fixed once a process; start a new one") from None
        self._threads = resources.threads
        tf.zeros(1).numpy()

    def build(self) -> dict[str, Any]:
        if gpus := tf.config.get_visible_devices("GPU"):
            built = tf.sysconfig.get_build_info()
            details = tf.config.experimental.get_device_details(gpus[0])
            return {
                "blas": "cuBLAS",
                "cuda": built["cuda_version"],
                "cudnn": built["cudnn_version"],
                "gpu": details.get("device_name"),
            }
        # TensorFlow says so once, in the log of its import, where nothing else could be told from it. So another
        # process runs that part of the import again, alone, which takes half a second.
        command = [sys.executable, "-c", GUARD, str(Path(tf.__file__).parent / "python" / "platform")]
        loud = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}
        said = subprocess.run(command, env=loud, capture_output=True, text=True, check=False)
        unused = re.search(r"To enable the following instructions: (.+), in other operations", said.stderr)
        onednn = "oneDNN custom operations are on" in said.stderr
        return {
            "blas": "Eigen and oneDNN" if onednn else "Eigen",
            "instructions_not_compiled_in": unused[1].split() if unused else None if said.returncode else [],
        }

    def load(self, path: Path) -> Table:
        features, species = store.read(path)
        return Table(tf.constant(features), None if species is None else tf.constant(species))

    def train(self, table: Table, model: str, seed: int) -> Model:
        if table.species is None:
            raise NoSpecies
        keras.utils.set_random_seed(seed)
        mean, variance = (moment.numpy() for moment in tf.nn.moments(tf.cast(table.features, tf.float64), axes=[0]))
        network = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Normalization(mean=mean.tolist(), variance=variance.tolist()),
                *(keras.layers.Dense(width, activation="relu") for width in HIDDEN.get(model, ())),
                keras.layers.Dense(3),
            ]
        )
        train = self._fit if self.track == "default" else self._train_by_epochs
        recipe = train(network, table.features, table.species, model)
        return Model(network, recipe | {"hidden": list(HIDDEN.get(model, ()))})

    def _fit(self, network: keras.Model, features: tf.Tensor, species: tf.Tensor, model: str) -> dict[str, Any]:
        network.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        network.fit(features, species, epochs=5, verbose=0)
        return {"solver": "Adam", "batch": 32, "epochs": 5, "learning_rate": 1e-3, "data": "fit"}

    def _train_by_epochs(
        self, network: keras.Model, features: tf.Tensor, species: tf.Tensor, model: str
    ) -> dict[str, Any]:
        plan = schedule(len(features))
        peak = {"logistic": 0.1, "mlp": 0.1, "deep": 0.002}[model]
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(peak, plan.steps))
        optimizer.build(network.trainable_variables)
        epoch = _epoch(network, optimizer, plan)
        for _ in range(plan.epochs):
            epoch(features, species)
        return {
            "solver": "Adam",
            "batch": plan.batch,
            "epochs": plan.epochs,
            "learning_rate": f"cosine decay from {peak}",
            "data": "one tf.function an epoch",
        }

    def _logits(self, model: Model, table: Table) -> list[tf.Tensor]:
        starts = range(0, len(table.features), PREDICT_ROWS)
        return [model.forward(table.features[start : start + PREDICT_ROWS]) for start in starts]

    def predict(self, model: Model, table: Table) -> NDArray[np.int8]:
        return np.concatenate([tf.argmax(z, axis=1).numpy().astype(np.int8) for z in self._logits(model, table)])

    def predict_proba(self, model: Model, table: Table) -> NDArray[np.float32]:
        return np.concatenate([tf.nn.softmax(z).numpy() for z in self._logits(model, table)])

    def predict_one(self, model: Model, flower: NDArray[np.float32]) -> int:
        return int(np.argmax(model.forward(tf.constant(flower.reshape(1, 4))).numpy()))

    def save(self, model: Model, folder: Path) -> None:
        model.network.save(folder / "model.keras")
        (folder / "recipe.json").write_text(json.dumps(model.recipe))

    def restore(self, folder: Path) -> Model:
        network = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
        return Model(network, json.loads((folder / "recipe.json").read_text()))

    def describe(self, model: Model) -> dict[str, Any]:
        return model.recipe | {"threads": self._threads}


def _epoch(network: keras.Model, optimizer: keras.optimizers.Optimizer, plan: Schedule) -> Any:
    """A compiled function that shuffles the rows and takes every step of one epoch."""

    @tf.function(reduce_retracing=True)
    def epoch(features: tf.Tensor, species: tf.Tensor) -> None:
        order = tf.random.shuffle(tf.range(tf.shape(features)[0]))
        x, y = tf.gather(features, order), tf.cast(tf.gather(species, order), tf.int32)
        for step in tf.range(plan.steps_per_epoch):
            rows = slice(step * plan.batch, (step + 1) * plan.batch)
            with tf.GradientTape() as tape:
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y[rows], network(x[rows], training=True))
                loss = tf.reduce_mean(loss)
            optimizer.apply(tape.gradient(loss, network.trainable_variables))

    return epoch
