"""Load scikit-learn models from skops files, and reject classes, shapes and values that `train` does not make."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from adapters import archives
from adapters.base import HIDDEN
from adapters.errors import ForeignModel

Model: TypeAlias = Pipeline | LogisticRegression | MLPClassifier

ADAM = "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"
"""A class of scikit-learn that skops does not trust by default."""

NODES = {
    ("DictNode", "builtins", "dict"),
    ("JsonNode", "builtins", "str"),
    ("ListNode", "builtins", "list"),
    ("TupleNode", "builtins", "tuple"),
    ("TypeNode", "builtins", "str"),
    *(("NdArrayNode", "numpy", kind) for kind in ("ndarray", "float64", "float32", "int64")),
    ("RandomStateNode", "numpy.random.mtrand", "RandomState"),
    ("ObjectNode", "sklearn.pipeline", "Pipeline"),
    ("ObjectNode", "sklearn.preprocessing._data", "StandardScaler"),
    ("ObjectNode", "sklearn.preprocessing._label", "LabelBinarizer"),
    ("ObjectNode", "sklearn.linear_model._logistic", "LogisticRegression"),
    ("ObjectNode", "sklearn.neural_network._multilayer_perceptron", "MLPClassifier"),
    ("ObjectNode", "sklearn.neural_network._stochastic_optimizers", "AdamOptimizer"),
}
"""Loader, module and class of every object in a file that `save` writes."""


def load(path: Path) -> Model:
    """Return the model in a skops file. Raise ForeignModel if `save` cannot have written it."""
    archives.check(path)
    _check_nodes(archives.read_json(path, "schema.json"))
    model = skops.io.load(path, trusted=[ADAM])
    try:
        _check(model)
    except (AttributeError, TypeError, ValueError, IndexError) as problem:
        if isinstance(problem, ForeignModel):
            raise
        raise ForeignModel(f"its estimator is not fitted, or not by `train` ({problem})") from None
    return model


def _check_nodes(schema: Any) -> None:
    """Raise ForeignModel if a skops file names a class that is not in NODES."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if {"__loader__", "__module__", "__class__"} & node.keys():
                kind = (node.get("__loader__"), node.get("__module__"), node.get("__class__"))
                if kind not in NODES:
                    raise ForeignModel(f"it contains a {kind[1]}.{kind[2]}, which `save` does not write")
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def _check(model: Any) -> None:
    """Raise ForeignModel if a model differs from those of `train` in anything that affects its predictions."""
    estimator = model
    if type(model) is Pipeline:
        (_, scaler), (_, estimator) = model.steps
        _require(type(scaler) is StandardScaler and scaler.with_mean is True and scaler.with_std is True, "its scaling")
        _check_array(scaler.mean_, (4,), "its means")
        _check_array(scaler.scale_, (4,), "its scales")
        _require(np.all(scaler.scale_ > 0), "its scales")
        _check_own(model, scaler)
    _require(type(estimator) in (LogisticRegression, MLPClassifier), f"a {type(estimator).__name__}")
    _check_own(estimator)
    _check_classes(estimator)
    _require(estimator.n_features_in_ == 4, f"{estimator.n_features_in_} features")
    if isinstance(estimator, LogisticRegression):
        _check_array(estimator.coef_, (3, 4), "its coefficients")
        _check_array(estimator.intercept_, (3,), "its intercepts")
        return
    hidden = tuple(estimator.hidden_layer_sizes)
    _require(hidden in ((), *HIDDEN.values()), f"hidden layers of {hidden}")
    layers = list(pairwise((4, *hidden, 3)))
    lengths = (len(estimator.coefs_), len(estimator.intercepts_), estimator.n_layers_ - 1, estimator.n_outputs_)
    _require(lengths == (len(layers), len(layers), len(layers), 3), "its number of layers")
    for shape, weights, biases in zip(layers, estimator.coefs_, estimator.intercepts_, strict=True):
        _check_array(weights, shape, "its weights")
        _check_array(biases, shape[1:], "its biases")
    _require((estimator.activation, estimator.out_activation_) == ("relu", "softmax"), "its activations")
    labels = estimator._label_binarizer
    _require(type(labels) is LabelBinarizer and labels.y_type_ == "multiclass", "its labels")
    _require((labels.neg_label, labels.pos_label, labels.sparse_output) == (0, 1, False), "its labels")
    _check_own(labels)
    _check_classes(labels)


def _check_classes(estimator: Any) -> None:
    classes = np.asarray(estimator.classes_)
    right = classes.dtype.kind in "iu" and classes.tolist() == [0, 1, 2]
    _require(right, f"the classes {classes.tolist()} instead of 0, 1 and 2")


def _check_own(*objects: Any) -> None:
    """Raise ForeignModel if an attribute of an object hides a method or an attribute of its class."""
    for item in objects:
        if hidden := [name for name in vars(item) if hasattr(type(item), name)]:
            raise ForeignModel(f"its {type(item).__name__} redefines {hidden[0]}")


def _check_array(values: Any, shape: tuple[int, ...], what: str) -> None:
    _require(type(values) is np.ndarray and values.dtype.kind == "f" and values.shape == shape, f"the shape of {what}")
    if not np.isfinite(values).all():
        raise ForeignModel(f"{what} are not all finite numbers")


def _require(right: object, what: str) -> None:
    if not right:
        raise ForeignModel(f"`train` does not make {what}")
