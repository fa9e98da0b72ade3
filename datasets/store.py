"""Write and read flowers as Parquet files.

Frameworks without a Parquet reader of their own use this module. It does not import pandas, which would add half a
second to the start of each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from datasets.flowers import FEATURES
from errors import BadInput

GROUP_ROWS = 1 << 17
"""Rows of a row group, except the last one."""

ROW_BYTES = 4 * len(FEATURES) + 1
# Nullable columns would double the time for writing.
SCHEMA = pa.schema(
    [pa.field(name, pa.float32(), nullable=False) for name in FEATURES]
    + [pa.field("species", pa.int8(), nullable=False)]
)


Rows = tuple[NDArray[np.float32], Any]
"""Features in cm, shape (n_rows, 4), and class labels, int8, shape (n_rows,), or None for a table without species."""


class RowGroup(NamedTuple):
    """A row group of a Parquet file."""

    path: Path
    number: int
    rows: int
    has_species: bool


def write(path: Path, features: NDArray[np.float32], species: NDArray[np.int8] | None) -> None:
    """Write one Parquet file of features in cm, shape (n_rows, 4), and class labels, shape (n_rows,), or None."""
    schema = SCHEMA if species is not None else SCHEMA.remove(len(FEATURES))
    starts = range(0, len(features), GROUP_ROWS)
    groups = (slice(start, start + GROUP_ROWS) for start in starts)
    write_groups(path, ([(features[rows], None if species is None else species[rows])] for rows in groups), schema)


def write_groups(path: Path, groups: Iterable[list[Rows]], schema: pa.Schema) -> None:
    """Write one Parquet file with a row group for each list of rows."""
    # Random digits do not compress, and every reader would have to decode an encoding.
    with pa.parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as file:
        for group in groups:
            file.write_table(pa.Table.from_batches([_batch(*rows, schema) for rows in group]), GROUP_ROWS)


def _batch(features: NDArray[np.float32], species: NDArray[np.int8] | None, schema: pa.Schema) -> pa.RecordBatch:
    columns: list[NDArray[Any]] = [np.ascontiguousarray(column) for column in features.T]
    if species is not None:
        columns.append(species)
    # pa.array would import pandas.
    arrays = [
        pa.Array.from_buffers(field.type, len(column), [None, pa.py_buffer(column)])
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def read(path: Path) -> Rows:
    """Return the rows of a Parquet file, or of a folder of part files.

    Raise BadInput if columns are missing or not numeric.
    """
    return read_groups(row_groups(path))


def read_groups(groups: Sequence[RowGroup]) -> Rows:
    """Return the rows of these row groups in their order."""
    n_rows = sum(group.rows for group in groups)
    # Align the address to 64 bytes, so that a framework can use the memory without a copy.
    memory = np.empty(n_rows * len(FEATURES) + 16, np.float32)
    start = -memory.ctypes.data % 64 // memory.itemsize
    features = memory[start : start + n_rows * len(FEATURES)].reshape(n_rows, len(FEATURES))
    species = np.empty(n_rows, dtype=np.int8) if groups[0].has_species else None
    columns = [*FEATURES, *(["species"] if species is not None else [])]
    at = 0
    for path, same_file in groupby(groups, key=lambda group: group.path):
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(GROUP_ROWS, [group.number for group in same_file], columns):
                for i, name in enumerate(FEATURES):
                    features[at : at + len(batch), i] = np.from_dlpack(batch.column(name))
                if species is not None:
                    species[at : at + len(batch)] = np.from_dlpack(batch.column("species"))
                at += len(batch)
    return features, species


def part_files(path: Path) -> list[Path]:
    """Return the Parquet files in the folder `path` in the order of their rows, or `path` itself if it is a file."""
    return sorted(path.glob("[!_.]*.parquet")) if path.is_dir() else [path]


def row_groups(path: Path) -> list[RowGroup]:
    """Return the row groups of the Parquet file or folder `path` in the order of their rows.

    Raise BadInput unless the four features are floating-point columns and the species, if any, are integers.
    """
    groups: list[RowGroup] = []
    for part in part_files(path) or [path]:
        try:
            with pa.parquet.ParquetFile(part) as file:
                schema, metadata = file.schema_arrow, file.metadata
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{part} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        if missing := [name for name in FEATURES if name not in schema.names]:
            raise BadInput(f"{part} has no column {', '.join(missing)}; it has {', '.join(schema.names) or 'none'}")
        for name in schema.names:
            kind = "integers" if name == "species" else "floating-point numbers"
            is_kind = pa.types.is_integer if name == "species" else pa.types.is_floating
            if name in SCHEMA.names and not is_kind(schema.field(name).type):
                raise BadInput(f"{part}, column {name} is {schema.field(name).type}; store {kind} in it")
        has_species = "species" in schema.names
        for number in range(metadata.num_row_groups):
            groups.append(RowGroup(part, number, metadata.row_group(number).num_rows, has_species))
    if not any(group.rows for group in groups):
        raise BadInput(f"{path} has no rows; add a row per flower")
    return groups
