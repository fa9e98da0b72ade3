"""Flowers that a user hands in, as CSV or Parquet: a clean table, or one line that says what is wrong and where."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from commandline import BadInput
from datasets import store
from datasets.flowers import FEATURES, SPECIES

PIECE_BYTES = 2**24
"""Of CSV that are read at a time: some 800,000 flowers."""

PIECE_ROWS = 2**19
"""Of Parquet."""

Rows = tuple[NDArray[np.float32], NDArray[np.int8] | None]


def read(path: Path, with_species: bool) -> Rows:
    """Features in cm, shape (n_rows, 4), and species codes, shape (n_rows,), or None unless `with_species`.

    Columns may be in any order, beside others, and be written as scikit-learn, R and Kaggle do ("sepal width (cm)",
    "Sepal.Width", "SepalWidthCm"). Species are names or the codes 0, 1, 2. BadInput names file, row and column.
    """
    features, species = zip(*pieces(path, with_species), strict=True)
    return np.concatenate(features), np.concatenate(species) if with_species else None


def pieces(path: Path, with_species: bool, file: BinaryIO | None = None) -> Iterator[Rows]:
    """What `read` returns, a piece at a time, so that the rows need not fit in memory.

    `file`: CSV to read instead, which need not be able to go back; `path` is then what errors call it.
    """
    seen = 0
    try:
        for batch in _batches(path, file):
            features, species = _rows(path, batch, with_species, seen)
            seen += len(batch)
            if len(batch):
                yield features, species
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not seen:
        raise BadInput(f"{path} has a header and no flowers")


def is_parquet(path: Path) -> bool:
    return path.is_dir() or path.suffix in (".parquet", ".pq")


def _rows(path: Path, batch: pa.RecordBatch, with_species: bool, before: int) -> Rows:
    """The batch as arrays; `before` it there were so many rows."""
    columns = {_plain(name): batch.column(i) for i, name in enumerate(batch.schema.names)}
    wanted = [*FEATURES, "species"] if with_species else [*FEATURES]
    if missing := [name for name in wanted if _plain(name) not in columns]:
        has = ", ".join(map(repr, batch.schema.names)) or "none"
        raise BadInput(f"{path} has no column {', '.join(missing)}; it has {has}")
    features = np.empty((len(batch), len(FEATURES)), dtype=np.float32)
    for i, name in enumerate(FEATURES):
        features[:, i] = _numbers(path, name, columns[_plain(name)], before)
    return features, _species(path, columns["species"], before) if with_species else None


def _batches(path: Path, file: BinaryIO | None) -> Iterator[pa.RecordBatch]:
    """Some rows after another. Of a file without any there is one batch, which is empty and has the columns."""
    if file is None and not path.exists():
        raise BadInput(f"{path} is not there")
    if file is None and is_parquet(path):
        parts = store.part_files(path)
        if not parts:
            raise BadInput(f"{path} is a folder without CSV or Parquet files")
        for part in parts:
            with pa.parquet.ParquetFile(part) as table:
                yield from table.iter_batches(PIECE_ROWS) if table.metadata.num_rows else table.read().to_batches()
        return
    with path.open("rb") if file is None else nullcontext(file) as lines:
        header = lines.readline().decode("utf-8-sig")
        if not header.strip():
            raise BadInput(f"{path} is empty; its first line should name the columns: {','.join(FEATURES)}")
        names = next(csv.reader([header]))
        text = dict.fromkeys(names, pa.string())
        if not (first := lines.read(1)):
            yield pa.RecordBatch.from_pylist([], pa.schema(text))
            return
        yield from pa.csv.open_csv(
            _Rest(first, lines),
            # By one thread: with more, blocks are read ahead, as many as there are cores.
            read_options=pa.csv.ReadOptions(column_names=names, block_size=PIECE_BYTES, use_threads=False),
            convert_options=pa.csv.ConvertOptions(column_types=text, strings_can_be_null=False),
        )


class _Rest(io.RawIOBase):
    """A stream of which a byte has been read already, to see whether there is one."""

    def __init__(self, first: bytes, lines: BinaryIO) -> None:
        self._first, self._lines = first, lines

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        first, self._first = self._first, b""
        return first + self._lines.read(size - len(first) if size > 0 else size)


def _plain(name: str) -> str:
    """What is left of a column's name without case, unit and punctuation: sepalwidth."""
    return re.sub(r"cm$", "", re.sub(r"[^a-z]", "", name.lower()))


def _numbers(path: Path, name: str, column: pa.Array, before: int) -> NDArray[np.float32]:
    """The column as float32. The fast way first; the slow one only finds the row to name."""
    if not pa.types.is_nested(column.type):
        try:
            values = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
            if np.isfinite(values).all():
                return values
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    for row, value in enumerate(column.to_pylist(), start=before + 1):
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


def _species(path: Path, column: pa.Array, before: int) -> NDArray[np.int8]:
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
            row = before + column.to_pylist().index(value) + 1
            what = "the species is missing" if name in ("", "none", "nan") else f"there is no species {value!r}"
            raise BadInput(f"{path}, row {row}, column species: {what}; it is one of {', '.join(SPECIES)}")
    encoded = column.dictionary_encode()
    by_index = np.array([codes[value] for value in encoded.dictionary.to_pylist()], dtype=np.int8)
    return by_index[encoded.indices.to_numpy()]
