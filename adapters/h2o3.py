"""H2O-3: the h2o client, and a private server on 127.0.0.1."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

# Without this, the client and the server send usage data to the vendor.
os.environ["DO_NOT_TRACK"] = "1"

import h2o
import numpy as np
from h2o.estimators import H2ODeepLearningEstimator, H2OEstimator, H2OGeneralizedLinearEstimator
from numpy.typing import NDArray

from adapters import java
from adapters.base import HIDDEN, Adapter, Recipe, Resources, given, model_with
from adapters.errors import ForeignModel, NoSpecies
from adapters.h2o_server import Server
from datasets import store
from datasets.flowers import FEATURES

FILE = "model.h2o"
"""File name of a saved model."""

NAMES = {"batch_size": "mini_batch_size", "learning_rate": "rate"}
"""H2O's names for settings of a recipe."""


class H2O(Adapter[h2o.H2OFrame, H2OEstimator]):
    """H2O-3.

    `default`: the estimators with their defaults, as in
    https://docs.h2o.ai/h2o/latest-stable/h2o-docs/data-science/glm.html and deep-learning.html in the same folder.
    `logistic` therefore has an elastic-net penalty and the solver IRLSM.

    `tuned`: L-BFGS without a penalty; networks are scored only once, at the end.
    """

    serving = "the server, over HTTP: two Rapids expressions and POST /3/Predictions, on a frame of one row"
    _server: Server | None = None
    _row: h2o.H2OFrame | None = None

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads
        url, login = resources.cluster, None
        if url is None:
            self._server = Server(resources)
            self.log, login = self._server.log, self._server.login
            url = self._server.start()
        h2o.no_progress()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the age of this release
            connection = h2o.connect(url=url, auth=login, verbose=False)
        if self._server:
            self._server.watch(connection)

    def build(self) -> dict[str, Any]:
        # H2O uses no BLAS: its algorithms are loops in Java.
        server = h2o.cluster()
        return {
            "version": server.version,
            "commit": server.last_commit_hash,
            "built": server.compiled_on,
            "java": java.version() if self._server else None,
        }

    def load(self, path: Path) -> h2o.H2OFrame:
        store.row_groups(path)
        with self._names(*store.part_files(path)) as names:
            frame = h2o.import_file(names)
        if "species" in frame.columns:
            frame["species"] = frame["species"].asfactor()
        frame.refresh()
        return frame

    def release(self, table: h2o.H2OFrame) -> None:
        h2o.remove(table)

    def recipe(self, model: str, rows: int) -> Recipe:
        if self.track == "default":
            return Recipe(model, "glm" if model == "logistic" else "deeplearning")
        if model == "logistic":
            # Without a penalty, IRLSM stops after two iterations, far from the optimum.
            options = {"solver": "L_BFGS", "lambda_": 0, "alpha": 0, "objective_epsilon": 1e-3}
            return Recipe(model, "glm", options=options)
        once: dict[str, Any] = {"score_interval": 1e9, "overwrite_with_best_model": False}  # score once, at the end
        if rows < 1_000:
            # One thread processes all rows in a single iteration. More epochs would overfit.
            options = once | {"train_samples_per_iteration": 100 * rows, "reproducible": True}
            return Recipe(model, "deeplearning", epochs=100.0, options=options)
        # A decaying rate ends closer to the optimum than ADADELTA, and equally close for every seed.
        options = once | {"adaptive_rate": False, "train_samples_per_iteration": -1}
        if model == "mlp":
            visits = 30_000 if rows < 10_000 else 100_000 if rows < 100_000 else 1_000_000
            epochs = max(1.0, visits / rows)
            options |= {"rate_annealing": 3e-5}
            return Recipe(model, "deeplearning", epochs=epochs, learning_rate=0.03, options=options)
        epochs = max(1.0, (30_000 if rows < 100_000 else 200_000) / rows)
        options |= {"rate_annealing": 1e-5, "initial_weights": "He"}
        return Recipe(model, "deeplearning", batch_size=32, epochs=epochs, learning_rate=0.01, options=options)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        own = self.recipe(model, rows)
        if model == "logistic":
            return [
                *(replace(own, max_iterations=most) for most in (10, 15, 20)),
                *(_with(own, objective_epsilon=epsilon) for epsilon in (1e-2, 1e-4, 1e-5)),
                *(_with(own, solver=solver) for solver in ("IRLSM", "COORDINATE_DESCENT")),
            ]
        if model == "deep":
            return [
                replace(own, epochs=given(own.epochs) / 2),
                replace(own, batch_size=64, learning_rate=0.03),
                _with(own, initial_weights=None),
                _with(own, adaptive_rate=True),
            ]
        return [
            *(replace(own, epochs=epochs) for epochs in (1.0, 3.0, 10.0) if epochs * rows <= 1e6),
            *(_with(own, rate_annealing=annealing) for annealing in (1e-5, 1e-4)),
            replace(own, learning_rate=0.01),
            *(replace(own, batch_size=size) for size in (8, 32)),
            _with(own, train_samples_per_iteration=-2),
            _with(own, adaptive_rate=True),
        ]

    def train(self, table: h2o.H2OFrame, recipe: Recipe, seed: int) -> H2OEstimator:
        if "species" not in table.columns:
            raise NoSpecies
        start: dict[str, list[h2o.H2OFrame]] = {}
        settings = {NAMES.get(name, name): value for name, value in recipe.settings().items() if name != "algorithm"}
        if recipe.algorithm == "glm":
            estimator = H2OGeneralizedLinearEstimator(family="multinomial", seed=seed, **settings)
        else:
            start = _he(HIDDEN[recipe.model], seed) if settings.get("initial_weights") == "He" else {}
            estimator = H2ODeepLearningEstimator(hidden=list(HIDDEN[recipe.model]), seed=seed, **(settings | start))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Reached maximum number of iterations")  # if the recipe sets it
            estimator.train(x=list(FEATURES), y="species", training_frame=table)
        for frame in itertools.chain(*start.values()):  # the model has copied them
            h2o.remove(frame)
        return estimator

    def predict(self, model: H2OEstimator, table: h2o.H2OFrame) -> NDArray[np.int8]:
        return self._fetch(model.predict(table), ["predict"])[:, 0].astype(np.int8)

    def predict_proba(self, model: H2OEstimator, table: h2o.H2OFrame) -> NDArray[np.float32]:
        return self._fetch(model.predict(table), ["p0", "p1", "p2"]).astype(np.float32)

    def _fetch(self, predictions: h2o.H2OFrame, columns: list[str]) -> NDArray[Any]:
        values: NDArray[Any] = predictions[columns].as_data_frame(use_multi_thread=True).to_numpy()
        h2o.remove(predictions)
        return values

    def predict_one(self, model: H2OEstimator, flower: NDArray[np.float32]) -> int:
        # A new frame would be uploaded as a file and parsed. Instead, keep one frame and set its four values.
        if self._row is None:
            name = f"row_{uuid.uuid4().hex}"
            self._row = h2o.H2OFrame([[0.0] * 4], destination_frame=name, column_names=list(FEATURES))
        row = filled = self._row.frame_id
        for column, value in enumerate(flower.tolist()):
            filled = f"(:= {filled} {value!r} [{column}] [0])"
        # Remove the last prediction, because overwriting it would leave its columns on the server.
        h2o.rapids(f"(, (rm {row}_answer) (assign {row}_flower {filled}))")
        h2o.api(
            f"POST /3/Predictions/models/{model.model_id}/frames/{row}_flower",
            data={"predictions_frame": f"{row}_answer"},
        )
        return int(h2o.rapids(f"(flatten (cols {row}_answer 0))")["string"])

    def save(self, model: H2OEstimator, folder: Path) -> None:
        with self._names(folder) as (name,):
            h2o.save_model(model, name, filename=FILE)

    def restore(self, folder: Path) -> H2OEstimator:
        with self._names(folder) as (name,):
            return _checked(h2o.load_model(f"{name}/{FILE}"))

    @contextlib.contextmanager
    def _names(self, *paths: Path) -> Iterator[list[str]]:
        """Yield the names by which the server, whose working folder is different, finds these files."""
        if self._server:
            with self._server.names(*paths) as names:
                yield names
        else:
            yield [str(path.resolve()) for path in paths]

    def name_of(self, model: H2OEstimator) -> str:
        return model_with(model.actual_params["hidden"] if model.algo == "deeplearning" else ())

    def describe(self, model: H2OEstimator) -> dict[str, Any]:
        used = model.actual_params
        if model.algo == "glm":
            iterations = model.summary().as_data_frame()["number_of_iterations"][0]
            recipe: dict[str, Any] = {"algorithm": "glm", "iterations": int(iterations)}
            names = {"solver": "solver", "lambda": "lambda", "alpha": "alpha", "max_iterations": "max_iterations"}
        else:
            recipe = {
                "algorithm": "deeplearning",
                "solver": "ADADELTA" if used["adaptive_rate"] else "SGD",
                "hogwild": True,
            }
            names = {"hidden": "hidden", "epochs": "epochs", "mini_batch_size": "batch_size"}
            if not used["adaptive_rate"]:
                names |= {"rate": "learning_rate", "rate_annealing": "rate_annealing"}
            if used["initial_weights"]:
                recipe["initial_weights"] = "He, without biases"
        return recipe | {name: used[key] for key, name in names.items() if key in used} | {"threads": self._threads}

    def close(self) -> None:
        if self._row is not None:
            row, self._row = self._row.frame_id, None
            if self._server is None:  # a cluster that keeps running
                h2o.remove([row, f"{row}_flower", f"{row}_answer"])
        if self._server is not None:
            server, self._server = self._server, None
            if (connection := h2o.connection()) is not None:
                with contextlib.redirect_stdout(io.StringIO()):
                    connection.close()
            server.end()


def _checked(model: H2OEstimator) -> H2OEstimator:
    """Return a restored model. Raise ForeignModel unless it has the type, features and classes that `train` gives."""
    output = model._model_json["output"]
    *names, answer = output["names"]
    *_, classes = output["domains"]
    if model.algo not in ("glm", "deeplearning") or output["model_category"] != "Multinomial":
        raise ForeignModel(f"`train` makes no {model.algo} model of the category {output['model_category']}")
    if (sorted(names), answer, classes) != (sorted(FEATURES), "species", ["0", "1", "2"]):
        raise ForeignModel(f"it predicts {answer} {classes} from {', '.join(names)}, not the species from {FEATURES}")
    return model


def _with(recipe: Recipe, **options: Any) -> Recipe:
    """Return the recipe with other options."""
    return replace(recipe, options={**recipe.options, **options})


def _he(hidden: tuple[int, ...], seed: int) -> dict[str, list[h2o.H2OFrame]]:
    """Return initial weights and biases by He et al., Delving Deep into Rectifiers, ICCV 2015.

    By default, H2O starts with small weights and biases of 0.5 and 1. Almost all rectifiers are then active, so the
    deep network starts as a linear model.
    """
    random = np.random.default_rng(seed)
    sizes = (len(FEATURES), *hidden, 3)
    shapes = list(zip(sizes[1:], sizes, strict=False))
    weights = [random.normal(0, np.sqrt(2 / inputs), (units, inputs)).round(6) for units, inputs in shapes]
    return {
        "initial_weights": [h2o.H2OFrame(layer) for layer in weights],
        "initial_biases": [h2o.H2OFrame(np.zeros((units, 1))) for units, _ in shapes],
    }
