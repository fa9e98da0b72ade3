"""Flowers that a user hands in, as CSV or Parquet: a clean table, or one line that says what is wrong and where."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from commandline import BadInput
from datasets.flowers import FEATURES, SPECIES


def read(path: Path, with_species: bool) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
    """Features in cm, shape (n_rows, 4), and species codes, shape (n_rows,), or None unless `with_species`.

    Columns may be in any order, beside others, and be written as scikit-learn, R and Kaggle do ("sepal width (cm)",
    "Sepal.Width", "SepalWidthCm"). Species are names or the codes 0, 1, 2. BadInput names file, row and column.
    """
    table = _open(path)
    columns = {_plain(name): table.column(i) for i, name in enumerate(table.column_names)}
    wanted = [*FEATURES, "species"] if with_species else [*FEATURES]
    if missing := [name for name in wanted if _plain(name) not in columns]:
        raise BadInput(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(map(repr, table.column_names)) or 'none'}"
        )
    if not len(table):
        raise BadInput(f"{path} has a header and no flowers")
    features = np.empty((len(table), len(FEATURES)), dtype=np.float32)
    for i, name in enumerate(FEATURES):
        features[:, i] = _numbers(path, name, columns[_plain(name)])
    return features, _species(path, columns["species"]) if with_species else None


def _open(path: Path) -> pa.Table:
    if not path.exists():
        raise BadInput(f"{path} is not there")
    try:
        if path.is_dir() or path.suffix in (".parquet", ".pq"):
            return pa.parquet.read_table(path)
        if not path.stat().st_size:
            raise BadInput(f"{path} is empty; its first line should name the columns: {','.join(FEATURES)}")
        with path.open() as file:
            names = file.readline()
        text = pa.csv.ConvertOptions(
            column_types={name.strip().strip('"'): pa.string() for name in names.split(",")}, strings_can_be_null=False
        )
        return pa.csv.read_csv(path, convert_options=text)
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _plain(name: str) -> str:
    """What is left of a column's name without case, unit and punctuation: sepalwidth."""
    return re.sub(r"cm$", "", re.sub(r"[^a-z]", "", name.lower()))


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float32]:
    """The column as float32. The fast way first; the slow one only finds the row to name."""
    if not pa.types.is_nested(column.type):
        try:
            values = column.cast(pa.float32(), safe=False).to_numpy()
            if np.isfinite(values).all():
                return values
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    for row, value in enumerate(column.to_pylist(), start=1):
        where = f"{path}, row {row}, column {name}"
        if value is None or not str(value).strip() or str(value).strip().lower() == "nan":
            raise BadInput(f"{where}: the value is missing; fill it in or take the row out")
        try:
            number = np.float32(value)
        except (ValueError, TypeError):
            raise BadInput(f"{where}: {value!r} is no number") from None
        if not np.isfinite(number):
            raise BadInput(f"{where}: {value!r} is no measurement in cm")
    return np.array([np.float32(value) for value in column.to_pylist()], dtype=np.float32)


def _species(path: Path, column: pa.ChunkedArray) -> NDArray[np.int8]:
    if pa.types.is_dictionary(column.type):  # pandas' categories, of which some may be unused
        column = column.cast(column.type.value_type)
    codes = {}
    for value in column.unique().to_pylist():
        name = str(value).strip().lower().removeprefix("iris").lstrip("- ")
        if name in SPECIES:
            codes[value] = SPECIES.index(name)
        elif name in ("0", "1", "2"):
            codes[value] = int(name)
        else:
            row = column.to_pylist().index(value) + 1
            what = "the species is missing" if name in ("", "none", "nan") else f"there is no species {value!r}"
            raise BadInput(f"{path}, row {row}, column species: {what}; it is one of {', '.join(SPECIES)}")
    encoded = column.combine_chunks().dictionary_encode()
    by_index = np.array([codes[value] for value in encoded.dictionary.to_pylist()], dtype=np.int8)
    return by_index[encoded.indices.to_numpy()]
