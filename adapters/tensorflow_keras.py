"""TensorFlow: a Keras 3 model, on the CPU or on a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters import newton
from adapters.base import HIDDEN, MODELS, Adapter, Recipe, Resources, given, model_with
from adapters.errors import NoSpecies, Unavailable
from adapters.minibatch import candidates, schedule
from adapters.quiet import discard_stderr
from datasets import store
from datasets.files import read_json
from datasets.streaming import BLOCK_ROWS, InMemory, OnDisk, fill

os.environ["KERAS_BACKEND"] = "tensorflow"

with discard_stderr():
    import keras
    import tensorflow as tf

    from adapters import keras_file

GUARD = """\
import sys
sys.path.append(sys.argv[1])
import _pywrap_cpu_feature_guard
_pywrap_cpu_feature_guard.InfoAboutUnusedCPUFeatures()
"""


Table = InMemory[tf.Tensor] | OnDisk
Block = tuple[tf.Tensor, Any]
"""Features in cm and class labels as tensors. The labels are None for a table without species."""


class Model:
    """A Keras model, its recipe, and its compiled forward pass."""

    def __init__(self, network: keras.Model, recipe: dict[str, Any]) -> None:
        self.network = network
        self.recipe = recipe
        signature = [tf.TensorSpec((None, 4), tf.float32)]
        self.forward = tf.function(network, input_signature=signature).get_concrete_function()


class TensorFlow(Adapter[Table, Model]):
    """TensorFlow.

    `default`: compile and fit with Adam for 5 epochs, as in https://www.tensorflow.org/tutorials/quickstart/beginner.

    `tuned`: Newton's method for `logistic`; for networks, a tf.function that makes all training steps of a block.
    """

    serving = "a concrete tf.function, on a tensor of one row"

    def start(self, resources: Resources) -> None:
        with discard_stderr():
            gpus = tf.config.list_physical_devices("GPU")
        if resources.device == "cuda" and not gpus:
            raise Unavailable(
                f"tensorflow {tf.__version__} finds no usable GPU. Type: uv pip install 'tensorflow[and-cuda]'"
            )
        try:
            tf.config.set_visible_devices(gpus if resources.device == "cuda" else [], "GPU")
            tf.config.threading.set_intra_op_parallelism_threads(resources.threads)
            tf.config.threading.set_inter_op_parallelism_threads(resources.threads)
            for gpu in tf.config.get_visible_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            raise Unavailable("TensorFlow is already configured in this process; start a new process") from None
        self._threads = resources.threads
        self._memory_bytes = resources.memory_bytes
        self._trainers: dict[str, _Trainer] = {}
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
        # TensorFlow only logs these facts, at its import. Run this part of the import in another process, to read its
        # log alone. This takes half a second.
        command = [sys.executable, "-c", GUARD, str(Path(tf.__file__).parent / "python" / "platform")]
        logged = subprocess.run(command, capture_output=True, text=True, check=False)
        unused = re.search(r"To enable the following instructions: (.+), in other operations", logged.stderr)
        onednn = "oneDNN custom operations are on" in logged.stderr
        return {
            "blas": "Eigen and oneDNN" if onednn else "Eigen",
            "instructions_not_compiled_in": unused[1].split() if unused else None if logged.returncode else [],
        }

    def load(self, path: Path) -> Table:
        table = OnDisk.at(path)
        if self.track == "tuned" and not table.fits(self._memory_bytes):
            return table
        features, species = store.read_groups(table.groups)
        # Use the memory of the array, because tf.constant would need twice the memory for a copy.
        tensor = tf.experimental.dlpack.from_dlpack(features.__dlpack__())
        return InMemory(tensor, None if species is None else tf.constant(species))

    def recipe(self, model: str, rows: int) -> Recipe:
        if self.track == "default":
            return Recipe(model, "fit", epochs=5)
        if model == "logistic":
            return Recipe(model, "Newton", tolerance=1e-3, sample_rows=1 << 14)
        plan = schedule(model, rows, 800, 2) if model == "deep" else schedule(model, rows, large_steps=800)
        rate = {"mlp": 0.2, "deep": 0.003}[model]
        return Recipe(model, "Adam", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        rates = {"logistic": (0.1, 0.2), "mlp": (0.05, 0.1, 0.2), "deep": (0.001, 0.003)}[model]
        tolerances = (1e-2, 1e-3, 1e-4, 1e-5) if model == "logistic" else ()
        plans = [schedule(model, rows)] if model == "logistic" else candidates(model, rows)
        return [Recipe(model, "Newton", tolerance=tolerance, sample_rows=1 << 14) for tolerance in tolerances] + [
            Recipe(model, "Adam", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)
            for plan in plans
            for rate in rates
        ]

    def train(self, table: Table, recipe: Recipe, seed: int) -> Model:
        if not table.has_species:
            raise NoSpecies
        keras.utils.set_random_seed(seed)
        as_ran = recipe.settings() | {
            "hidden": list(HIDDEN.get(recipe.model, ())),
            "streamed": isinstance(table, OnDisk),
        }
        match recipe.algorithm:
            case "Newton":
                network = self._train_by_newton(table, recipe, seed, as_ran)
            case "Adam":
                network = self._train_by_adam(table, recipe, seed)
            case _:
                network = self._fit(table, recipe, as_ran)
        return Model(network, as_ran)

    def _fit(self, table: Table, recipe: Recipe, as_ran: dict[str, Any]) -> keras.Model:
        assert isinstance(table, InMemory)
        normalization = keras.layers.Normalization()
        normalization.adapt(table.features)
        network = _network(recipe.model, normalization)
        network.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        network.fit(table.features, table.species, epochs=recipe.epochs, verbose=0)
        as_ran |= {"solver": "Adam", "learning_rate": float(network.optimizer.learning_rate), "batch_size": 32}
        return network

    def _train_by_adam(self, table: Table, recipe: Recipe, seed: int) -> keras.Model:
        network = _network(recipe.model)
        if recipe.model not in self._trainers:
            self._trainers[recipe.model] = _Trainer(_network(recipe.model))
        trainer = self._trainers[recipe.model]
        trainer.begin(network)
        batch_size, epochs = given(recipe.batch_size), int(given(recipe.epochs))
        steps = epochs * (len(table) // batch_size)
        scaling = None
        for epoch in range(epochs):
            for features, species in _shuffled(table, seed + epoch):
                scaling = scaling or _scaling(features)  # a random block represents all rows
                mean, scale = scaling
                x = (features - mean) / scale
                trainer.learn(x, species, batch_size, float(steps), recipe.learning_rate)
        trainer.end(network)
        assert scaling
        _include_scaling(network, *scaling)
        return network

    def _train_by_newton(self, table: Table, recipe: Recipe, seed: int, as_ran: dict[str, Any]) -> keras.Model:
        sample_rows, tolerance = given(recipe.sample_rows), given(recipe.tolerance)
        features, species = next(_shuffled(table, seed))
        mean, scale = _scaling(features)

        def likelihood(blocks: Callable[[], Iterable[Block]], weights: NDArray[np.float64]) -> Any:
            coefficients = tf.constant(weights, tf.float32)
            sums = [[term.numpy() for term in _sums(x, y, mean, scale, coefficients)] for x, y in blocks()]
            n_rows, *totals = (np.sum(terms, axis=0, dtype=np.float64) for terms in zip(*sums, strict=True))
            return tuple(total / n_rows for total in totals)

        sample = features[:sample_rows], species[:sample_rows]
        weights = np.zeros((5, 2))
        weights, iterations = newton.minimise(partial(likelihood, lambda: [sample]), weights, tolerance)
        if len(table) > sample_rows:
            as_ran["iterations_on_sample"] = iterations
            all_rows = partial(likelihood, lambda: _in_order(table))
            weights, iterations = newton.minimise(all_rows, weights, tolerance)
        as_ran |= {"iterations": iterations, "l2": 0.0}
        network = _network("logistic")
        coefficients = np.pad(weights, ((0, 0), (1, 0)))
        network.set_weights([coefficients[:4], coefficients[4]])
        _include_scaling(network, mean, scale)
        return network

    def predict(self, model: Model, table: Table) -> NDArray[np.int8]:
        logits = (model.forward(x) for x, _ in _in_order(table))
        return fill(np.empty(len(table), np.int8), (tf.argmax(z, axis=1).numpy() for z in logits))

    def predict_proba(self, model: Model, table: Table) -> NDArray[np.float32]:
        logits = (model.forward(x) for x, _ in _in_order(table))
        return fill(np.empty((len(table), 3), np.float32), (tf.nn.softmax(z).numpy() for z in logits))

    def predict_one(self, model: Model, flower: NDArray[np.float32]) -> int:
        return int(np.argmax(model.forward(tf.constant(flower.reshape(1, 4))).numpy()))

    def save(self, model: Model, folder: Path) -> None:
        model.network.save(folder / "model.keras")
        (folder / "recipe.json").write_text(json.dumps(model.recipe))

    def restore(self, folder: Path) -> Model:
        networks = (_network(model, *before) for model in MODELS for before in ([], [keras.layers.Normalization()]))
        network = keras_file.load(folder / "model.keras", networks)
        return Model(network, read_json(folder / "recipe.json", dict[str, Any]))

    def name_of(self, model: Model) -> str:
        widths = [layer.units for layer in model.network.layers if isinstance(layer, keras.layers.Dense)]
        return model_with(widths[:-1])

    def describe(self, model: Model) -> dict[str, Any]:
        return model.recipe | {"threads": self._threads}


class _Trainer:
    """A network, its optimizer, and a compiled function that makes all training steps of a block.

    It is compiled once per model, and used for every training of this model.
    """

    def __init__(self, network: keras.Model) -> None:
        self.network = network
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build(self.network.trainable_variables)

    def begin(self, network: keras.Model) -> None:
        """Reset the optimizer, and copy the weights of `network`."""
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        _copy(network, self.network)

    def end(self, network: keras.Model) -> None:
        """Copy the trained weights to `network`."""
        _copy(self.network, network)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 4), tf.float32),
            tf.TensorSpec((None,), tf.int8),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((), tf.float32),
        ]
    )
    def learn(self, x: tf.Tensor, species: tf.Tensor, batch: tf.Tensor, steps: tf.Tensor, peak: tf.Tensor) -> None:
        """Train on each row of a block once. The learning rate decays as a cosine, to 0 after `steps` batches."""
        y = tf.cast(species, tf.int32)
        for start in tf.range(0, tf.shape(x)[0] - batch + 1, batch):
            done = tf.cast(self.optimizer.iterations, tf.float32) / steps
            self.optimizer.learning_rate = peak * 0.5 * (1.0 + tf.cos(np.pi * done))
            rows = slice(start, start + batch)
            with tf.GradientTape() as tape:
                logits = self.network(x[rows], training=True)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y[rows], logits))
            self.optimizer.apply(tape.gradient(loss, self.network.trainable_variables))


def _scaling(features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the mean and the standard deviation of each column. For a constant column, the latter is 1."""
    mean, variance = tf.nn.moments(features, axes=[0])
    return mean, tf.sqrt(tf.where(variance > 0, variance, 1.0))


def _include_scaling(network: keras.Model, mean: tf.Tensor, scale: tf.Tensor) -> None:
    """Change the weights of a network that was trained on scaled features, so that it takes features in cm."""
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    first.kernel.assign(first.kernel / scale[:, None])
    first.bias.assign_sub(tf.linalg.matvec(first.kernel, mean, transpose_a=True))


@tf.function(
    input_signature=[
        tf.TensorSpec((None, 4), tf.float32),
        tf.TensorSpec((None,), tf.int8),
        tf.TensorSpec((4,), tf.float32),
        tf.TensorSpec((4,), tf.float32),
        tf.TensorSpec((5, 2), tf.float32),
    ]
)
def _sums(
    features: tf.Tensor, species: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Return the number of rows, and the sums of the log-loss and its derivatives for `adapters.newton`."""
    x = tf.pad(
        (features - mean) / scale, [[0, 0], [0, 1]], constant_values=1.0
    )  # the fifth column is for the intercept
    y = tf.one_hot(tf.cast(species, tf.int32), 3)
    log_p = tf.nn.log_softmax(tf.pad(x @ weights, [[0, 0], [1, 0]]))
    p = tf.exp(log_p[:, 1:])
    px = tf.reshape(x[:, :, None] * p[:, None, :], (-1, 10))
    gradient = tf.matmul(x, p - y[:, 1:], transpose_a=True)
    same_class = tf.reshape(tf.matmul(x, px, transpose_a=True), (5, 1, 5, 2)) * tf.eye(2)[None, :, None, :]
    hessian = same_class - tf.reshape(tf.matmul(px, px, transpose_a=True), (5, 2, 5, 2))
    return tf.shape(x)[0], -tf.reduce_sum(log_p * y), gradient, hessian


def _network(model: str, *before: keras.layers.Layer) -> keras.Model:
    """Return a new network, with additional layers before the hidden layers."""
    hidden = [keras.layers.Dense(width, activation="relu") for width in HIDDEN.get(model, ())]
    return keras.Sequential([keras.Input((4,)), *before, *hidden, keras.layers.Dense(3)])


def _copy(source: keras.Model, target: keras.Model) -> None:
    for there, here in zip(target.trainable_variables, source.trainable_variables, strict=True):
        there.assign(here)


def _tensors(block: store.Rows) -> Block:
    features, species = block
    return tf.constant(features), None if species is None else tf.constant(species)


def _in_order(table: Table) -> Iterator[Block]:
    return map(_tensors, table.in_order()) if isinstance(table, OnDisk) else table.in_order()


def _shuffled(table: Table, seed: int) -> Iterator[Block]:
    if isinstance(table, OnDisk):
        yield from map(_tensors, table.shuffled(seed))
    else:
        order = tf.random.shuffle(tf.range(len(table)))
        for start in range(0, len(table), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            yield tf.gather(table.features, rows), tf.gather(table.species, rows)
