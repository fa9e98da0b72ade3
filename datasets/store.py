"""Parquet on disk: iris at any size, made once, kept in a cache, checked before it is used.

A dataset is a folder of part files and a manifest that says what is in them:

    part-00000.parquet    float32 sepal_length sepal_width petal_length petal_width (cm), int8 species
    _manifest.json        seed, stream, rows, and a SHA-256 for each part
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from commandline import BadInput, check_folder
from datasets import flowers
from datasets.files import replace_file
from datasets.flowers import FEATURES
from datasets.synthetic import CHUNK_ROWS, Stream, chunk

FORMAT = 1
PART_ROWS = 16 * CHUNK_ROWS
ROW_BYTES = 4 * len(FEATURES) + 1
MANIFEST = "_manifest.json"
SCHEMA = pa.schema([(name, pa.float32()) for name in FEATURES] + [("species", pa.int8())])


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
        """The manifest of a dataset folder; BadInput if there is none that can be read."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text()))
        except FileNotFoundError:
            raise BadInput(
                f"{folder} is no dataset: it has no {MANIFEST}. Make one with python -m datasets make"
            ) from None
        except (ValueError, TypeError) as error:
            raise BadInput(f"{folder / MANIFEST} is damaged ({error}). Make the dataset again") from None

    def write(self, folder: Path) -> None:
        replace_file(folder / MANIFEST, lambda path: path.write_text(json.dumps(asdict(self), indent=1)))


def cache_folder() -> Path:
    """Where datasets are kept: IRISBENCH_DATA, else the user's cache folder."""
    if named := os.environ.get("IRISBENCH_DATA"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "irisbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irisbench"


def cached(
    rows: int, seed: int = 0, stream: Stream = Stream.TRAIN, progress: Callable[[int], None] | None = None
) -> Path:
    """The folder of a dataset in the cache, made or mended first where need be. What had to be mended is said on
    standard error. See `make` for the arguments.
    """
    folder = cache_folder() / f"{stream.name.lower()}-{rows}-seed{seed}-format{FORMAT}"
    for line in make(folder, rows, seed, stream, progress):
        print(line, file=sys.stderr)
    return folder


def make(
    folder: Path,
    rows: int,
    seed: int = 0,
    stream: Stream = Stream.TRAIN,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Makes a dataset in `folder`, or what is missing or damaged of it, and returns what had to be mended.

    150 training rows are the real flowers. `progress` is called with the number of rows that have become ready.
    BadInput if the disk has no room, or the folder holds another dataset.
    """
    check_folder(folder)
    wanted = Manifest(seed, stream.name.lower(), rows, {})
    known: dict[str, str] = {}
    mended, missing = [], []
    if (folder / MANIFEST).exists():
        try:
            found = Manifest.read(folder)
        except BadInput:
            found = wanted
            mended.append(f"{folder / MANIFEST} was damaged, and everything is made again")
        known = found.parts
        if replace(found, parts={}) != wanted:
            raise BadInput(
                f"{folder} holds another dataset ({found.rows:,} {found.stream} rows, seed {found.seed}, format "
                f"{found.format}); name another folder, or remove this one"
            )
    elif folder.is_dir() and any(path.suffix == ".parquet" for path in folder.iterdir()):
        raise BadInput(f"{folder} has Parquet files that are no dataset of irisbench; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.parquet.*"):
        if not psutil.pid_exists(int(left.suffix[1:])):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)

    done: dict[str, str] = {}
    for name, n_rows in _parts(rows):
        if name in known and _checksum(folder / name) == known[name]:
            done[name] = known[name]
            if progress:
                progress(n_rows)
        else:
            missing.append((name, n_rows))
            if name in known:
                mended.append(f"{folder / name} was damaged or gone, and is made again")

    needed = int(1.02 * ROW_BYTES * sum(n_rows for _, n_rows in missing))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"{rows:,} rows need {needed / 2**30:.1f} GiB in {folder}, which has {free / 2**30:.1f} GiB free. "
            "Free some, ask for fewer rows, or set IRISBENCH_DATA to a folder on a larger disk"
        )

    def make_part(part: tuple[str, int]) -> tuple[str, int]:
        name, n_rows = part
        table = _part_table(rows, seed, stream, int(name[5:10]), n_rows)
        replace_file(folder / name, lambda path: write(path, *table))
        return part

    # Two parts at a time keep the memory flat however many cores there are.
    with ThreadPoolExecutor(2) as pool:
        for name, n_rows in pool.map(make_part, missing):
            done[name] = str(_checksum(folder / name))
            # One line after another, so that a run that is interrupted goes on where it stopped.
            replace(wanted, parts=dict(sorted(done.items()))).write(folder)
            if progress:
                progress(n_rows)
    return mended


def write(path: Path, features: NDArray[np.float32], species: NDArray[np.int8] | None) -> None:
    """Writes one Parquet file: features in cm, shape (n_rows, 4), and species codes, shape (n_rows,), if any."""
    columns: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(features[:, i]) for i, name in enumerate(FEATURES)}
    if species is not None:
        columns["species"] = species
    # Random digits do not compress, and an encoding would be undone by every reader.
    pa.parquet.write_table(
        pa.table(columns, schema=pa.schema([field for field in SCHEMA if field.name in columns])),
        path,
        row_group_size=2 * CHUNK_ROWS,
        compression="none",
        use_dictionary=False,
    )


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
    """A Parquet file, or a folder of part files, as features in cm, shape (n_rows, 4), and species codes or None.

    For the frameworks that have no Parquet reader of their own, without pandas, which would cost each of them half a
    second at the start. BadInput if columns are missing or are no numbers.
    """
    files = _open(path)
    n_rows = sum(file.metadata.num_rows for file in files)
    features = np.empty((n_rows, len(FEATURES)), dtype=np.float32)
    species = np.empty(n_rows, dtype=np.int8) if "species" in files[0].schema_arrow.names else None
    columns = [*FEATURES, *(["species"] if species is not None else [])]
    at = 0
    for file in files:
        for batch in file.iter_batches(batch_size=2 * CHUNK_ROWS, columns=columns):
            for i, name in enumerate(FEATURES):
                features[at : at + len(batch), i] = np.from_dlpack(batch.column(name))
            if species is not None:
                species[at : at + len(batch)] = np.from_dlpack(batch.column("species"))
            at += len(batch)
    return features, species


def batches(path: Path) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int8]]]:
    """A dataset with species, a piece at a time, as `read` gives it whole."""
    for file in _open(path):
        for batch in file.iter_batches(batch_size=PART_ROWS):
            features = np.column_stack([np.from_dlpack(batch.column(name)) for name in FEATURES])
            species: NDArray[np.int8] = np.from_dlpack(batch.column("species"))  # type: ignore[assignment]
            yield features, species


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


def check_columns(path: Path) -> None:
    """BadInput unless the Parquet at `path` has the four measurements as floats, and species codes if any."""
    _open(path)


def _open(path: Path) -> list[pa.parquet.ParquetFile]:
    """The files at `path`, of which each has been looked at. BadInput if one is none of ours."""
    files = []
    for part in part_files(path) or [path]:
        try:
            file = pa.parquet.ParquetFile(part)
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{part} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        schema = file.schema_arrow
        if missing := [name for name in FEATURES if name not in schema.names]:
            raise BadInput(f"{part} has no column {', '.join(missing)}; it has {', '.join(schema.names) or 'none'}")
        for name in schema.names:
            wanted = "a whole number" if name == "species" else "a float"
            fits = pa.types.is_integer if name == "species" else pa.types.is_floating
            if name in SCHEMA.names and not fits(schema.field(name).type):
                raise BadInput(f"{part}, column {name} is {schema.field(name).type}, and should be {wanted}")
        files.append(file)
    return files


def _parts(rows: int) -> list[tuple[str, int]]:
    return [
        (f"part-{number:05}.parquet", min(PART_ROWS, rows - start))
        for number, start in enumerate(range(0, rows, PART_ROWS))
    ]


def _part_table(
    rows: int, seed: int, stream: Stream, number: int, n_rows: int
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    if rows == flowers.ROWS and stream == Stream.TRAIN:
        return flowers.real_flowers()
    first = number * (PART_ROWS // CHUNK_ROWS)
    chunks = [chunk(seed, stream, first + i) for i in range(-(-n_rows // CHUNK_ROWS))]
    return np.concatenate([x for x, _ in chunks])[:n_rows], np.concatenate([y for _, y in chunks])[:n_rows]


def _checksum(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
