"""The 150 real flowers, and the names of what is measured on them.

R. A. Fisher (1936), "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7(2), 179-188;
the numbers are those that scikit-learn ships.
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
    """Features in cm, shape (150, 4), and species codes, shape (150,); both read-only."""
    with FILE.open(newline="") as file:
        lines = list(csv.DictReader(file))
    features = np.array([[line[name] for name in FEATURES] for line in lines], dtype=np.float32)
    species = np.array([SPECIES.index(line["species"]) for line in lines], dtype=np.int8)
    features.flags.writeable = species.flags.writeable = False
    return features, species


def species_code(name: object) -> int | None:
    """Return the class label for "setosa", "Iris-setosa", "Iris Setosa" or "0"; None if it is not a species."""
    plain = str(name).strip().lower().removeprefix("iris").lstrip("- ")
    if plain in SPECIES:
        return SPECIES.index(plain)
    return int(plain) if plain in ("0", "1", "2") else None
