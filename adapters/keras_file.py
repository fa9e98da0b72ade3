"""Load the weights of Keras files, and reject networks that `train` does not make.

Keras would build the network that a file describes. This module only reads the weights, into a network of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from adapters import archives
from adapters.errors import ForeignModel


def load(path: Path, networks: Iterable[keras.Model]) -> keras.Model:
    """Return the one of `networks` with the layers that a file describes, with the weights of the file.

    Raise ForeignModel if there is none, or if a weight is not finite.
    """
    archives.check(path, {"metadata.json", "config.json", "model.weights.h5"})
    described = _layers(archives.read_json(path, "config.json"))
    network = next((network for network in networks if _layers(json.loads(network.to_json())) == described), None)
    if network is None:
        raise ForeignModel("its network has other layers than `train` makes")
    network.load_weights(path)
    if not all(np.isfinite(weights.numpy()).all() for weights in network.weights):
        raise ForeignModel("its weights are not all finite numbers")
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and not (layer.variance.numpy() >= 0).all():
            raise ForeignModel("its variances are not all positive")
    return network


def _layers(config: Any) -> list[tuple[Any, ...]]:
    """Return the settings of each layer that affect its output."""
    names = ("batch_shape", "dtype", "units", "activation", "use_bias", "axis", "invert", "mean", "variance")
    try:
        layers = config["config"]["layers"]
        settings = [(layer["class_name"], *(layer["config"].get(name) for name in names)) for layer in layers]
    except (KeyError, TypeError, AttributeError):
        raise ForeignModel("its network is not described in the format of Keras") from None
    return [tuple(_plain(value) for value in layer) for layer in settings]


def _plain(value: Any) -> Any:
    """Return the name of a dtype policy, whose identifiers differ from file to file, or any other value as it is."""
    return value["config"]["name"] if isinstance(value, dict) and value.get("class_name") == "DTypePolicy" else value
