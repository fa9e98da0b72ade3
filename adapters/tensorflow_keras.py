"""TensorFlow: a Keras 3 model, on the CPU or on a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters import archives, newton
from adapters.base import HIDDEN, MODELS, Adapter, Recipe, Resources, model_with
from adapters.errors import ForeignModel, NoSpecies, Unavailable
from adapters.hushed import hushed
from adapters.minibatch import candidates, schedule
from datasets import store
from datasets.files import read_json
from datasets.streaming import BLOCK_ROWS, OnDisk, fill

os.environ["KERAS_BACKEND"] = "tensorflow"

with hushed():
    import keras
    import tensorflow as tf

GUARD = """\
import sys
sys.path.append(sys.argv[1])
import _pywrap_cpu_feature_guard
_pywrap_cpu_feature_guard.InfoAboutUnusedCPUFeatures()
"""


@dataclass(frozen=True)
class InMemory:
    """All rows: features in cm, shape (n_rows, 4), and species codes, shape (n_rows,), or None."""

    features: tf.Tensor
    species: tf.Tensor | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def has_species(self) -> bool:
        return self.species is not None


Table = InMemory | OnDisk
Block = tuple[tf.Tensor, tf.Tensor | None]


class Model:
    """A Keras model with its recipe, and its forward pass compiled once."""

    def __init__(self, network: keras.Model, recipe: dict[str, Any]) -> None:
        self.network = network
        self.recipe = recipe
        signature = [tf.TensorSpec((None, 4), tf.float32)]
        self.forward = tf.function(network, input_signature=signature).get_concrete_function()


class TensorFlow(Adapter[Table, Model]):
    """`default`: compile and fit with Adam for 5 epochs, as in https://www.tensorflow.org/tutorials/quickstart/beginner.

    `tuned`: Newton's method for `logistic`; for networks, one tf.function that takes the steps of a whole block.
    """

    serving = "a concrete tf.function, on a tensor of one row"

    def start(self, resources: Resources) -> None:
        with hushed():
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
        # TensorFlow says so once, in the log of its import, where nothing else could be told from it. So another
        # process runs that part of the import again, alone, which takes half a second.
        command = [sys.executable, "-c", GUARD, str(Path(tf.__file__).parent / "python" / "platform")]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        unused = re.search(r"To enable the following instructions: (.+), in other operations", said.stderr)
        onednn = "oneDNN custom operations are on" in said.stderr
        return {
            "blas": "Eigen and oneDNN" if onednn else "Eigen",
            "instructions_not_compiled_in": unused[1].split() if unused else None if said.returncode else [],
        }

    def load(self, path: Path) -> Table:
        table = OnDisk.at(path)
        if self.track == "tuned" and not table.fits(self._memory_bytes):
            return table
        features, species = store.read_groups(table.groups)
        # tf.constant would take twice the memory while it copies.
        features = tf.experimental.dlpack.from_dlpack(features.__dlpack__())
        return InMemory(features, None if species is None else tf.constant(species))

    def recipe(self, model: str, rows: int) -> Recipe:
        if self.track == "default":
            return Recipe(model, "fit", epochs=5)
        if model == "logistic":
            return Recipe(model, "Newton", tolerance=1e-4, sample_rows=1 << 14)
        plan = schedule(model, rows, 512, 190) if model == "deep" else schedule(model, rows)
        rate = {"mlp": 0.2, "deep": 0.003}[model]
        return Recipe(model, "Adam", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        rates = {"logistic": (0.1, 0.2), "mlp": (0.05, 0.1, 0.2), "deep": (0.001, 0.003)}[model]
        tolerances = (1e-2, 1e-3, 1e-4, 1e-5) if model == "logistic" else ()
        return [Recipe(model, "Newton", tolerance=tolerance, sample_rows=1 << 14) for tolerance in tolerances] + [
            Recipe(model, "Adam", batch_size=batch_size, epochs=epochs, learning_rate=rate)
            for batch_size, epochs in candidates(rows)
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
        steps = recipe.epochs * (len(table) // recipe.batch_size)
        scaling = None
        for epoch in range(recipe.epochs):
            for features, species in _shuffled(table, seed + epoch):
                scaling = scaling or _scaling(features)  # a random block represents all rows
                mean, scale = scaling
                x = (features - mean) / scale
                trainer.learn(x, species, recipe.batch_size, float(steps), recipe.learning_rate)
        trainer.end(network)
        _take_cm(network, *scaling)
        return network

    def _train_by_newton(self, table: Table, recipe: Recipe, seed: int, as_ran: dict[str, Any]) -> keras.Model:
        features, species = next(_shuffled(table, seed))
        mean, scale = _scaling(features)

        def likelihood(blocks: Callable[[], Iterable[Block]], weights: NDArray[np.float64]) -> Any:
            sums = [_sums(x, y, mean, scale, tf.constant(weights, tf.float32)) for x, y in blocks()]
            n_rows, *totals = (np.sum(terms, axis=0, dtype=np.float64) for terms in zip(*sums, strict=True))
            return tuple(total / n_rows for total in totals)

        sample = features[: recipe.sample_rows], species[: recipe.sample_rows]
        weights = np.zeros((5, 2))
        weights, iterations = newton.minimise(partial(likelihood, lambda: [sample]), weights, recipe.tolerance)
        if len(table) > recipe.sample_rows:
            as_ran["iterations_on_sample"] = iterations
            all_rows = partial(likelihood, lambda: _in_order(table))
            weights, iterations = newton.minimise(all_rows, weights, recipe.tolerance)
        as_ran |= {"iterations": iterations, "l2": 0.0}
        network = _network("logistic")
        coefficients = np.pad(weights, ((0, 0), (1, 0)))
        network.set_weights([coefficients[:4], coefficients[4]])
        _take_cm(network, mean, scale)
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
        # Keras would build what the file describes. We build a network of ours, and read the weights only.
        path = folder / "model.keras"
        archives.check(path, {"metadata.json", "config.json", "model.weights.h5"})
        network = _network_like(archives.read_json(path, "config.json"))
        network.load_weights(path)
        if not all(np.isfinite(weights.numpy()).all() for weights in network.weights):
            raise ForeignModel("its weights are not all finite numbers")
        for layer in network.layers:
            if isinstance(layer, keras.layers.Normalization) and not (layer.variance.numpy() >= 0).all():
                raise ForeignModel("its variances are not all positive")
        return Model(network, read_json(folder / "recipe.json", dict[str, Any]))

    def name_of(self, model: Model) -> str:
        widths = [layer.units for layer in model.network.layers if isinstance(layer, keras.layers.Dense)]
        return model_with(widths[:-1])

    def describe(self, model: Model) -> dict[str, Any]:
        return model.recipe | {"threads": self._threads}


class _Trainer:
    """A network, its optimizer, and a compiled function that takes all steps of a block.

    Compiled once a model, and used for every training of it, from whatever weights and at whatever size.
    """

    def __init__(self, network: keras.Model) -> None:
        self.network = network
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build(self.network.trainable_variables)

    def begin(self, network: keras.Model) -> None:
        """Start from the weights of `network`."""
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        _copy(network, self.network)

    def end(self, network: keras.Model) -> None:
        """Copy the weights into `network`."""
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
        """Train on a block once. The learning rate falls along a cosine, to 0 after `steps` batches."""
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
    """Return the mean and the standard deviation of each column, or 1 for a column that is constant."""
    mean, variance = tf.nn.moments(features, axes=[0])
    return mean, tf.sqrt(tf.where(variance > 0, variance, 1.0))


def _take_cm(network: keras.Model, mean: tf.Tensor, scale: tf.Tensor) -> None:
    """Include the scaling in the weights of a network that was trained on scaled measurements."""
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
    """Return the number of rows, and the sums of the log-loss and its derivatives, as `adapters.newton` wants them."""
    x = tf.pad((features - mean) / scale, [[0, 0], [0, 1]], constant_values=1.0)  # the fifth is the intercept's
    y = tf.one_hot(tf.cast(species, tf.int32), 3)
    log_p = tf.nn.log_softmax(tf.pad(x @ weights, [[0, 0], [1, 0]]))
    p = tf.exp(log_p[:, 1:])
    px = tf.reshape(x[:, :, None] * p[:, None, :], (-1, 10))
    gradient = tf.matmul(x, p - y[:, 1:], transpose_a=True)
    same_class = tf.reshape(tf.matmul(x, px, transpose_a=True), (5, 1, 5, 2)) * tf.eye(2)[None, :, None, :]
    hessian = same_class - tf.reshape(tf.matmul(px, px, transpose_a=True), (5, 2, 5, 2))
    return tf.shape(x)[0], -tf.reduce_sum(log_p * y), gradient, hessian


def _network(model: str, *before: keras.layers.Layer) -> keras.Model:
    hidden = [keras.layers.Dense(width, activation="relu") for width in HIDDEN.get(model, ())]
    return keras.Sequential([keras.Input((4,)), *before, *hidden, keras.layers.Dense(3)])


def _network_like(config: Any) -> keras.Model:
    """Return a new network of ours with the layers that a file describes. ForeignModel if we make no such network."""
    described = _layers(config)
    for model in MODELS:
        for before in ([], [keras.layers.Normalization()]):
            network = _network(model, *before)
            if _layers(json.loads(network.to_json())) == described:
                return network
    raise ForeignModel("its network has other layers than a training here makes")


def _layers(config: Any) -> list[tuple[Any, ...]]:
    """What decides the output of each layer, weights aside."""
    deciding = ("batch_shape", "dtype", "units", "activation", "use_bias", "axis", "invert", "mean", "variance")
    try:
        layers = config["config"]["layers"]
        described = [(layer["class_name"], *(layer["config"].get(key) for key in deciding)) for layer in layers]
    except (KeyError, TypeError, AttributeError):
        raise ForeignModel("its network is not described as Keras does") from None
    return [tuple(_plain(value) for value in layer) for layer in described]


def _plain(value: Any) -> Any:
    """A dtype is written as its policy, with identifiers that differ from file to file."""
    return value["config"]["name"] if isinstance(value, dict) and value.get("class_name") == "DTypePolicy" else value


def _copy(source: keras.Model, target: keras.Model) -> None:
    for there, here in zip(target.trainable_variables, source.trainable_variables, strict=True):
        there.assign(here)


def _in_order(table: Table) -> Iterator[Block]:
    if isinstance(table, OnDisk):
        for features, species in table.in_order():
            yield tf.constant(features), None if species is None else tf.constant(species)
    else:
        for start in range(0, len(table), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield table.features[rows], None if table.species is None else table.species[rows]


def _shuffled(table: Table, seed: int) -> Iterator[Block]:
    if isinstance(table, OnDisk):
        for features, species in table.shuffled(seed):
            yield tf.constant(features), tf.constant(species)
    else:
        order = tf.random.shuffle(tf.range(len(table)))
        for start in range(0, len(table), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            yield tf.gather(table.features, rows), tf.gather(table.species, rows)
