"""Read a user's CSV or Parquet file of flowers, and reject invalid values with one line that names the place."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from datasets import store
from datasets.delimited import BLOCK_BYTES, NUMBER, open_delimited
from datasets.flowers import FEATURES, SPECIES, class_label
from errors import BadInput, printable

PIECE_ROWS = 2**18
"""Rows of a piece, or slightly more. Allocators reuse all memory only after several pieces; with larger pieces, memory
would still grow at the end of a file of 3 million rows."""

BATCH_ROWS = 2**16
"""Rows of a Parquet file that are read at a time."""

SPECIES_COLUMNS = ("species", "class", "variety", "target", "name")
"""Names of the species column in other projects, the most common name first."""

LARGEST_CM = 100.0
"""Larger values are implausible for an iris."""

WARNINGS = 3
"""Implausible values of a file that are shown. Further ones are only counted."""

Rows = tuple[NDArray[np.float32], NDArray[np.int8] | None]


class Piece(NamedTuple):
    """Consecutive rows: features in cm, shape (n_rows, 4), class labels if requested, and the columns to keep."""

    features: NDArray[np.float32]
    species: NDArray[np.int8] | None
    kept: list[pa.Array]


def read(path: Path, with_species: bool) -> Rows:
    """Return features in cm, shape (n_rows, 4), and class labels, shape (n_rows,), or None unless `with_species`.

    Columns may be in any order, next to others, and named as in scikit-learn, R or Kaggle ("sepal width (cm)",
    "Sepal.Width", "SepalWidthCm"). Species are names or the class labels 0, 1, 2. BadInput names file, row and column.
    """
    features, species, _ = zip(*pieces(path, with_species), strict=True)
    return np.concatenate(features), np.concatenate(species) if with_species else None


def pieces(path: Path, with_species: bool, file: BinaryIO | None = None, keep: Sequence[str] = ()) -> Iterator[Piece]:
    """Yield the rows that `read` returns in pieces, so that they need not fit in memory.

    Print warnings about implausible values to standard error.

    Parameters
    ----------
    path
        The file, or a folder of Parquet files.
    with_species
        Whether to read the class labels, too.
    file
        An open CSV file to read instead. It need not be seekable. `path` is then its name in error messages.
    keep
        Names of other columns to return as text.
    """
    rows, small = 0, []
    for piece in _small_pieces(path, file, with_species, keep):
        small.append(piece)
        rows += len(piece.features)
        if rows >= PIECE_ROWS:
            yield _merged(small)
            rows, small = 0, []
    if small:
        yield _merged(small)


def _small_pieces(path: Path, file: BinaryIO | None, with_species: bool, keep: Sequence[str]) -> Iterator[Piece]:
    """Yield one piece per batch."""
    plausibility = _Plausibility(path)
    seen = 0
    with _readable(path):
        for batch in _batches(path, file, with_species, keep):
            features = np.empty((len(batch), len(FEATURES)), dtype=np.float32)
            for i, name in enumerate(FEATURES):
                features[:, i] = _numbers(path, name, batch.column(i), seen)
            plausibility.check(features, seen)
            species = _labels(path, batch.column(len(FEATURES)), seen) if with_species else None
            kept = batch.columns[len(batch.columns) - len(keep) :]
            seen += len(batch)
            if len(batch):
                yield Piece(features, species, [_text(path, name, i) for name, i in zip(keep, kept, strict=True)])
    if not seen:
        raise BadInput(f"{path} has a header but no rows; add a row per flower")
    plausibility.summarise()


def _merged(pieces: list[Piece]) -> Piece:
    features, species, kept = zip(*pieces, strict=True)
    return Piece(
        np.concatenate(features),
        None if species[0] is None else np.concatenate(species),
        [pa.concat_arrays(arrays) for arrays in zip(*kept, strict=True)],
    )


def is_parquet(path: Path) -> bool:
    return path.is_dir() or path.suffix in (".parquet", ".pq")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Convert the errors that the readers of CSV, gzip and Parquet raise for damaged files to BadInput."""
    try:
        yield
    except BadInput:
        raise
    except (pa.ArrowException, ValueError, OSError, EOFError, zlib.error) as error:
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "straddling object" in line:  # Arrow's message for a line that is longer than a block
            line = f"a line is longer than {BLOCK_BYTES:,} bytes; shorten it"
        raise BadInput(f"{path} cannot be read: {printable(line)}") from None


def _batches(path: Path, file: BinaryIO | None, with_species: bool, keep: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of the columns to read: the features, the species if requested, the columns to keep."""
    if file is None and not path.exists():
        raise BadInput(f"{path} does not exist; name a CSV or Parquet file")
    if file is None and is_parquet(path):
        parts = store.part_files(path)
        if not parts:
            raise BadInput(f"{path} is a folder without CSV or Parquet files")
        for part in parts:
            if path.is_dir() and not part.is_file():  # reading a FIFO would wait forever
                raise BadInput(f"{part} is not a regular file; remove it")
            with pa.parquet.ParquetFile(part) as table:
                columns = _columns(part, table.schema_arrow.names, with_species, keep)
                for batch in table.iter_batches(BATCH_ROWS):
                    yield batch.select(columns)
        return
    with ExitStack() as stack:
        text = open_delimited(path, file or stack.enter_context(path.open("rb")))
        yield from text.batches(_columns(path, text.names, with_species, keep))


def _columns(path: Path, names: list[str], with_species: bool, keep: Sequence[str]) -> list[int]:
    """Return the numbers of the columns to read, in the order of `_batches`.

    Raise BadInput if a column is missing, or if two columns match.
    """
    has = ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")

    def only(column: str, matches: list[int]) -> int:
        if len(matches) > 1:
            which = " and ".join(repr(names[i]) for i in matches[:3])
            raise BadInput(f"{path} has {len(matches)} columns for {column}: {which}; rename or remove all but one")
        return matches[0]

    plain = [_plain(name) for name in names]
    by_feature = {name: [i for i, other in enumerate(plain) if other == _plain(name)] for name in FEATURES}
    missing = [name for name, matches in by_feature.items() if not matches]
    columns = [] if missing else [only(name, matches) for name, matches in by_feature.items()]
    if with_species:
        by_alias = ([i for i, other in enumerate(plain) if other == alias] for alias in SPECIES_COLUMNS)
        if matches := next((matches for matches in by_alias if matches), []):
            columns.append(only("species", matches))
        else:
            missing.append("species")
    if missing:
        raise BadInput(
            f"{path} has no column {', '.join(missing)}; it has {has}. Separate columns by a comma, semicolon or tab"
        )
    for name in keep:
        if not (matches := [i for i, other in enumerate(names) if other == name]):
            raise BadInput(f"{path} has no column {name!r} to keep; it has {has}")
        columns.append(only(name, matches))
    return columns


def _plain(name: str) -> str:
    """Return the name of a column without case, unit and punctuation: sepalwidth."""
    return re.sub(r"cm$", "", re.sub(r"[\W_]", "", name.lower()))


def _numbers(path: Path, name: str, column: pa.Array, before: int) -> NDArray[np.float32]:
    """Return the column as float32. Text may have spaces around it, and a decimal comma."""
    attempts: list[Callable[[], pa.Array]] = [lambda: column]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        attempts.append(lambda: pc.replace_substring(pc.utf8_trim_whitespace(column), ",", "."))
    for attempt in attempts:
        try:
            values: NDArray[np.float32] = attempt().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowException:
            continue
        if np.isfinite(values).all():
            return values
    # Find the row only now, because this is slow.
    for row, value in enumerate(column.to_pylist(), start=before + 1):
        where = f"{path}, row {row}, column {name}"
        if value is None or str(value).strip().lower() in ("", "nan"):
            raise BadInput(f"{where}: the value is missing; fill it in or remove the row")
        if re.fullmatch(r"[+-]?inf(inity)?", str(value).strip().lower()):
            raise BadInput(f"{where}: {_shortened(value)} is not a length in cm; correct it or remove the row")
        if not NUMBER.fullmatch(str(value)):
            raise BadInput(f"{where}: {_shortened(value)} is not a number; write 5.1 or 5,1")
        if abs(float(str(value).replace(",", "."))) > float(np.finfo(np.float32).max):
            raise BadInput(f"{where}: {_shortened(value)} is not a length in cm; correct it or remove the row")
    raise BadInput(f"{path}, column {name} has the type {column.type}; store numbers in it")


def _labels(path: Path, column: pa.Array, before: int) -> NDArray[np.int8]:
    """Return the class labels of a column of names or labels."""
    if pa.types.is_dictionary(column.type):  # pandas' categories, of which some may be unused
        column = column.cast(column.type.value_type)
    labels = {}
    for value in column.unique().to_pylist():
        if (label := class_label(value)) is None:
            row = before + column.to_pylist().index(value) + 1
            if str(value).strip().lower() in ("", "none", "nan"):
                what = "the species is missing"
            else:
                what = f"there is no species {_shortened(value)}"
            raise BadInput(
                f"{path}, row {row}, column species: {what}; write {', '.join(SPECIES[:-1])} or {SPECIES[-1]}"
            )
        labels[value] = label
    encoded = column.dictionary_encode()
    by_index = np.array([labels[value] for value in encoded.dictionary.to_pylist()], dtype=np.int8)
    indices: NDArray[np.int32] = encoded.indices.to_numpy()
    return by_index[indices]


def _text(path: Path, name: str, column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        raise BadInput(f"{path}, column {name} has the type {column.type}, which cannot be kept as text") from None


def _shortened(value: object) -> str:
    """Return a value as text for an error message, at most 60 characters long."""
    quoted = repr(value)
    return quoted if len(quoted) <= 60 else f"{quoted[:60]}..."


@dataclass
class _Plausibility:
    """Warnings about values that no iris can have."""

    path: Path
    implausible: int = 0

    def check(self, features: NDArray[np.float32], before: int) -> None:
        """Warn about the first implausible values of a file. `before` is the number of rows before `features`."""
        implausible = ~((features > 0) & (features <= LARGEST_CM))
        if not implausible.any():
            return
        for row, column in np.argwhere(implausible)[: max(0, WARNINGS - self.implausible)]:
            value = features[row, column]
            where = f"{self.path}, row {before + row + 1}, column {FEATURES[column]}"
            _warn(f"{where}: {value:g} cm is implausible; expected more than 0 and at most {LARGEST_CM:g} cm")
        self.implausible += int(implausible.sum())

    def summarise(self) -> None:
        if self.implausible > WARNINGS:
            _warn(f"{self.path}: {self.implausible:,} implausible values in total")


def _warn(message: str) -> None:
    if sys.stderr is not None:
        print(f"warning: {printable(message)}", file=sys.stderr)
