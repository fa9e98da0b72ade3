"""The 150 real flowers, and the names of their features and classes.

R. A. Fisher (1936), "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7(2), 179-188.
The values are those of scikit-learn's copy.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
SPECIES = ("setosa", "versicolor", "virginica")
ROWS = 150
FILE = Path(__file__).with_name("iris.csv")


@cache
def real_flowers() -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return features in cm, shape (150, 4), and class labels, shape (150,). Both arrays are read-only."""
    with FILE.open(newline="") as file:
        lines = list(csv.DictReader(file))
    features = np.array([[line[name] for name in FEATURES] for line in lines], dtype=np.float32)
    species = np.array([SPECIES.index(line["species"]) for line in lines], dtype=np.int8)
    features.flags.writeable = species.flags.writeable = False
    return features, species


def class_label(name: object) -> int | None:
    """Return the class label of "setosa", "Iris-setosa", "Iris Setosa" or "0", or None if it is not a species."""
    plain = str(name).strip().lower().removeprefix("iris").lstrip("- ")
    if plain in SPECIES:
        return SPECIES.index(plain)
    return int(plain) if plain in ("0", "1", "2") else None
