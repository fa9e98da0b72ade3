"""Parquet on disk: iris at any size, made once, kept in a cache, checked before it is used.

A dataset is a folder of part files and a manifest that says what is in them:

    part-00000.parquet    float32 sepal_length sepal_width petal_length petal_width (cm), int8 species
    _manifest.json        seed, stream, rows, and a SHA-256 for each part
    .lock                 held while a process makes parts
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from datasets import flowers
from datasets.files import check_folder, read_json, replace_file, write_json
from datasets.flowers import FEATURES
from datasets.sizes import LARGEST_ROWS, PART_ROWS, show_size
from datasets.synthetic import CHUNK_ROWS, Stream, chunk
from errors import BadInput
from machine import usable_cores

FORMAT = 2
GROUP_ROWS = 2 * CHUNK_ROWS
ROW_BYTES = 4 * len(FEATURES) + 1
MANIFEST = "_manifest.json"
LOCK = ".lock"
OURS = re.compile(r"_manifest\.json|\.lock|part-\d{5}\.parquet|\.(part-\d{5}\.parquet|_manifest\.json)\.[0-9a-f]+")
"""The names of the files that `make` writes, and of what it leaves when it is killed."""
# Without nulls, which would take half of the time that writing takes.
SCHEMA = pa.schema(
    [pa.field(name, pa.float32(), nullable=False) for name in FEATURES]
    + [pa.field("species", pa.int8(), nullable=False)]
)


Rows = tuple[NDArray[np.float32], Any]
"""Features in cm, shape (n, 4), and species codes, shape (n,), or None where there are no species."""


class RowGroup(NamedTuple):
    """A piece of a Parquet file that can be read alone."""

    path: Path
    number: int
    rows: int
    has_species: bool


@dataclass(frozen=True)
class Manifest:
    """What a dataset folder holds. `parts` maps the name of each finished part to its SHA-256."""

    seed: int
    stream: str
    rows: int
    parts: dict[str, str]
    format: int = FORMAT

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of a dataset folder; BadInput if there is none, or none that `make` wrote."""
        try:
            manifest = read_json(folder / MANIFEST, cls)
        except FileNotFoundError:
            raise BadInput(
                f"{folder} is not a dataset: it has no {MANIFEST}. Make one with python -m datasets make"
            ) from None
        except BadInput as error:
            raise BadInput(f"{error}. Make the dataset again") from None
        streams = [stream.name.lower() for stream in Stream]
        if manifest.stream not in streams or not 0 < manifest.rows <= LARGEST_ROWS or manifest.seed < 0:
            raise BadInput(f"{folder / MANIFEST} is damaged: no such stream, rows or seed. Make the dataset again")
        names = {name for name, _ in _parts(manifest.rows)}
        if unknown := [name for name in manifest.parts if name not in names]:
            raise BadInput(f"{folder / MANIFEST} is damaged: it has no part {unknown[0]!r}. Make the dataset again")
        return manifest

    def write(self, folder: Path) -> None:
        write_json(folder / MANIFEST, self)


def cache_folder() -> Path:
    """Where datasets are kept: IRISBENCH_DATA, else the user's cache folder."""
    if named := os.environ.get("IRISBENCH_DATA"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "irisbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irisbench"


def cached(rows: int, seed: int = 0, stream: Stream = Stream.TRAIN) -> Path:
    """The folder of a dataset in the cache, whether it has been made or not."""
    return cache_folder() / f"{stream.name.lower()}-{rows}-seed{seed}-format{FORMAT}"


def make(
    folder: Path,
    rows: int,
    seed: int = 0,
    stream: Stream = Stream.TRAIN,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> list[str]:
    """Make a dataset in `folder`, or what is missing or damaged of it, and return what had to be repaired.

    150 training rows are the real flowers. `progress` is called with the number of rows that have become ready. Parts
    are made on `threads` cores, or on all that there are. A second process waits for the first.
    BadInput if the disk has no room, or the folder holds another dataset.
    """
    check_folder(folder)
    wanted = Manifest(seed, stream.name.lower(), rows, {})
    if rows > LARGEST_ROWS:
        raise BadInput(f"{rows:,} rows are too many; a dataset can store {LARGEST_ROWS:,}")
    if not folder.exists():
        _check_room(folder, rows, rows)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not folder.is_relative_to(cache_folder()):
                raise
            raise BadInput(
                f"{folder} cannot be created ({error.strerror}); set IRISBENCH_DATA to a folder that you can write to"
            ) from None
    else:
        _check_ours(folder, wanted)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _check_ours(folder, wanted)
        if sys.stderr is not None:
            print(f"waiting: another process is making {folder}", file=sys.stderr)
        lock.acquire()
    except OSError:  # nobody can write there, so that nothing needs a lock
        return _make(folder, wanted, stream, progress, threads)
    try:
        return _make(folder, wanted, stream, progress, threads)
    finally:
        lock.release()


def _check_ours(folder: Path, wanted: Manifest) -> bool:
    """Tell whether the manifest can be trusted. BadInput if the folder holds anything but the dataset wanted."""
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if not OURS.fullmatch(name)]
    if not (folder / MANIFEST).exists():
        others += [name for name in names if name.startswith("part-")]  # we never write a part without a manifest
    if others:
        raise BadInput(f"{folder} holds other files ({others[0]}); name a new or empty folder")
    if not (folder / MANIFEST).exists():
        return True
    try:
        found = Manifest.read(folder)
    except BadInput:
        return False
    if replace(found, parts={}) != wanted:
        raise BadInput(
            f"{folder} holds another dataset ({found.rows:,} {found.stream} rows, seed {found.seed}, format "
            f"{found.format}); name another folder, or remove this one"
        )
    return True


def _check_room(folder: Path, rows: int, missing_rows: int) -> None:
    """BadInput unless the disk has room for the rows that are missing."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed = 1.02 * ROW_BYTES * missing_rows
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise BadInput(
            f"{rows:,} rows need {show_size(needed)} in {folder}, but {show_size(free)} are free; "
            "ask for fewer rows, free some space, or choose a larger disk"
        )


def _make(
    folder: Path, wanted: Manifest, stream: Stream, progress: Callable[[int], None] | None, threads: int | None
) -> list[str]:
    """Do the work of `make`, while no other process does."""
    rows = wanted.rows
    known: dict[str, str] = {}
    repaired: list[str] = []
    if not _check_ours(folder, wanted):
        repaired.append(f"{folder / MANIFEST} was damaged, and everything is made again")
    elif (folder / MANIFEST).exists():
        known = Manifest.read(folder).parts
    for left in folder.iterdir():  # of a process that was killed while it wrote; another would hold the lock
        if left.name not in (LOCK, MANIFEST) and left.name.startswith(".") and OURS.fullmatch(left.name):
            left.unlink(missing_ok=True)

    def kept(part: tuple[str, int]) -> bool:
        name, n_rows = part
        whole = _checksum(folder / name) == known[name]
        if whole and progress:
            progress(n_rows)
        return whole

    def make_part(part: tuple[str, int]) -> tuple[str, int, str]:
        name, n_rows = part
        groups = _groups(rows, wanted.seed, stream, int(name[5:10]), n_rows)
        replace_file(folder / name, lambda path: _write(path, groups, SCHEMA))
        return name, n_rows, str(_checksum(folder / name))

    parts = _parts(rows)
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        there = [part for part in parts if part[0] in known]
        whole = pool.map(kept, there)
        done = {name: known[name] for (name, _), ready in zip(there, whole, strict=True) if ready}
        missing = [part for part in parts if part[0] not in done]
        repaired += [f"{folder / name} was damaged or gone, and is made again" for name, _ in missing if name in known]
        _check_room(folder, rows, sum(n_rows for _, n_rows in missing))
        if missing:
            # At once, so that another process sees which dataset is being made here.
            replace(wanted, parts=done).write(folder)
        for name, n_rows, checksum in pool.map(make_part, missing):
            done[name] = checksum
            # One line after another, so that a run that is interrupted goes on where it stopped.
            replace(wanted, parts=dict(sorted(done.items()))).write(folder)
            if progress:
                progress(n_rows)
    return repaired


def write(path: Path, features: NDArray[np.float32], species: NDArray[np.int8] | None) -> None:
    """Writes one Parquet file: features in cm, shape (n_rows, 4), and species codes, shape (n_rows,), if any."""
    schema = SCHEMA if species is not None else SCHEMA.remove(len(FEATURES))
    starts = range(0, len(features), GROUP_ROWS)
    groups = (slice(start, start + GROUP_ROWS) for start in starts)
    _write(path, ([(features[rows], None if species is None else species[rows])] for rows in groups), schema)


def _write(path: Path, groups: Iterable[list[Rows]], schema: pa.Schema) -> None:
    """Each group of rows, which may come in several pieces, becomes a row group."""
    # Random digits do not compress, and an encoding would be undone by every reader.
    with pa.parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as file:
        for group in groups:
            file.write_table(pa.Table.from_batches([_batch(*rows, schema) for rows in group]), GROUP_ROWS)


def _batch(features: NDArray[np.float32], species: NDArray[np.int8] | None, schema: pa.Schema) -> pa.RecordBatch:
    columns: list[NDArray[Any]] = [np.ascontiguousarray(column) for column in features.T]
    if species is not None:
        columns.append(species)
    # pa.array would import pandas first.
    arrays = [
        pa.Array.from_buffers(field.type, len(column), [None, pa.py_buffer(column)])
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def read(path: Path) -> Rows:
    """A Parquet file, or a folder of part files, as features in cm, shape (n_rows, 4), and species codes or None.

    For the frameworks that have no Parquet reader of their own, without pandas, which would cost each of them half a
    second at the start. BadInput if columns are missing or are not numbers.
    """
    return read_groups(row_groups(path))


def read_groups(groups: Sequence[RowGroup]) -> Rows:
    """The rows of some row groups, one group after another, as `read` gives all of them."""
    n_rows = sum(group.rows for group in groups)
    # At an address that is a multiple of 64, so that a framework can take the memory as it is.
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


def check(folder: Path) -> list[str]:
    """What is wrong with a dataset folder, a line each; nothing when every part is there and whole."""
    manifest = Manifest.read(folder)
    return [
        f"{name} is missing or damaged"
        for name, _ in _parts(manifest.rows)
        if _checksum(folder / name) != manifest.parts.get(name, "")
    ]


def part_files(path: Path) -> list[Path]:
    """The Parquet files at `path`, itself or those in its folder, in the order of their rows."""
    return sorted(path.glob("[!_.]*.parquet")) if path.is_dir() else [path]


def row_groups(path: Path) -> list[RowGroup]:
    """What the Parquet at `path` consists of, in the order of its rows.

    BadInput unless it has the four measurements as floats, and species codes if any.
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
            wanted = "a whole number" if name == "species" else "a float"
            fits = pa.types.is_integer if name == "species" else pa.types.is_floating
            if name in SCHEMA.names and not fits(schema.field(name).type):
                raise BadInput(f"{part}, column {name} is {schema.field(name).type}, and should be {wanted}")
        has_species = "species" in schema.names
        for number in range(metadata.num_row_groups):
            groups.append(RowGroup(part, number, metadata.row_group(number).num_rows, has_species))
    if not any(group.rows for group in groups):
        raise BadInput(f"{path} has no rows")
    return groups


def _parts(rows: int) -> list[tuple[str, int]]:
    return [
        (f"part-{number:05}.parquet", min(PART_ROWS, rows - start))
        for number, start in enumerate(range(0, rows, PART_ROWS))
    ]


def _groups(rows: int, seed: int, stream: Stream, number: int, n_rows: int) -> Iterator[list[Rows]]:
    """The row groups of a part, made one at a time, so that memory stays flat."""
    if rows == flowers.ROWS and stream == Stream.TRAIN:
        yield [flowers.real_flowers()]
        return
    first = number * (PART_ROWS // CHUNK_ROWS)
    for start in range(0, n_rows, GROUP_ROWS):
        group = []
        for at in range(start, min(start + GROUP_ROWS, n_rows), CHUNK_ROWS):
            features, species = chunk(seed, stream, first + at // CHUNK_ROWS)
            group.append((features[: n_rows - at], species[: n_rows - at]))
        yield group


def _checksum(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
