"""Generate datasets, check them, and keep them in a cache folder.

A dataset is a folder of part files and a manifest that lists them:

    part-00000.parquet    float32 sepal_length sepal_width petal_length petal_width (cm), int8 species
    _manifest.json        seed, stream, rows, and a SHA-256 for each part
    .lock                 held while a process generates parts
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from datasets import flowers, store
from datasets.files import check_folder, read_json, replace_file, write_json
from datasets.sizes import LARGEST_ROWS, PART_ROWS, show_size
from datasets.store import GROUP_ROWS, ROW_BYTES, Rows
from datasets.synthetic import CHUNK_ROWS, Stream, chunk
from errors import BadInput
from machine import usable_cores

FORMAT = 2
MANIFEST = "_manifest.json"
LOCK = ".lock"
OURS = re.compile(r"_manifest\.json|\.lock|part-\d{5}\.parquet|\.(part-\d{5}\.parquet|_manifest\.json)\.[0-9a-f]+")
"""Names of the files that `make` writes, and of the temporary files that remain if it is killed."""


@dataclass(frozen=True)
class Manifest:
    """The content of a dataset folder. `parts` maps the name of each finished part to its SHA-256."""

    seed: int
    stream: str
    rows: int
    parts: dict[str, str]
    format: int = FORMAT

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of a dataset folder. Raise BadInput if it is missing, or not written by `make`."""
        try:
            manifest = read_json(folder / MANIFEST, cls)
        except FileNotFoundError:
            raise BadInput(
                f"{folder} is not a dataset: it has no {MANIFEST}; create a dataset with python -m datasets make"
            ) from None
        except BadInput as error:
            raise BadInput(f"{error}; make the dataset again") from None
        streams = [stream.name.lower() for stream in Stream]
        if manifest.stream not in streams or not 0 < manifest.rows <= LARGEST_ROWS or manifest.seed < 0:
            raise BadInput(
                f"{folder / MANIFEST} is damaged: its stream, rows or seed is not possible; make the dataset again"
            )
        names = {name for name, _ in _parts(manifest.rows)}
        if unknown := [name for name in manifest.parts if name not in names]:
            raise BadInput(f"{folder / MANIFEST} is damaged: it lists {unknown[0]!r}; make the dataset again")
        return manifest

    def write(self, folder: Path) -> None:
        write_json(folder / MANIFEST, self)


def cache_folder() -> Path:
    """Return the folder of all cached datasets: IRISBENCH_DATA, or the cache folder of the user."""
    return Path(os.environ.get("IRISBENCH_DATA") or platformdirs.user_cache_path("irisbench", appauthor=False))


def cached(rows: int, seed: int = 0, stream: Stream = Stream.TRAIN) -> Path:
    """Return the folder of a dataset in the cache. It need not exist."""
    return cache_folder() / f"{stream.name.lower()}-{rows}-seed{seed}-format{FORMAT}"


def make(
    folder: Path,
    rows: int,
    seed: int = 0,
    stream: Stream = Stream.TRAIN,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> list[str]:
    """Generate a dataset, or its missing and damaged parts. Return a line for each repaired file.

    150 training rows are the real flowers. If another process is generating the same dataset, wait for it. Raise
    BadInput if the disk has too little space, or if the folder contains anything else.

    Parameters
    ----------
    folder
        The folder to write. It is created if it is missing.
    rows, seed, stream
        The rows to generate, see `datasets.synthetic`.
    progress
        Function that is called with the number of rows of each part that is finished.
    threads
        Number of cores to use, by default all usable cores.
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
    except OSError:  # nobody can write to this folder, so no lock is needed
        return _make(folder, wanted, stream, progress, threads)
    try:
        return _make(folder, wanted, stream, progress, threads)
    finally:
        lock.release()


def check(folder: Path) -> list[str]:
    """Return a line for each missing or damaged part of a dataset."""
    manifest = Manifest.read(folder)
    return [
        f"{name} is missing or damaged"
        for name, _ in _parts(manifest.rows)
        if _checksum(folder / name) != manifest.parts.get(name, "")
    ]


def _check_ours(folder: Path, wanted: Manifest) -> bool:
    """Return whether the manifest is readable. Raise BadInput if the folder contains anything but this dataset."""
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if not OURS.fullmatch(name)]
    if not (folder / MANIFEST).exists():
        others += [name for name in names if name.startswith("part-")]  # `make` writes the manifest before any part
    if others:
        raise BadInput(f"{folder} holds other files ({others[0]}); name a new or empty folder")
    if not (folder / MANIFEST).exists():
        return True
    try:
        manifest = Manifest.read(folder)
    except BadInput:
        return False
    if replace(manifest, parts={}) != wanted:
        raise BadInput(
            f"{folder} holds another dataset ({manifest.rows:,} {manifest.stream} rows, seed {manifest.seed}, format "
            f"{manifest.format}); name another folder, or remove this one"
        )
    return True


def _check_room(folder: Path, rows: int, missing_rows: int) -> None:
    """Raise BadInput if the disk has too little space for the missing rows."""
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
    """Do the work of `make` while this process holds the lock."""
    rows = wanted.rows
    known: dict[str, str] = {}
    repaired: list[str] = []
    if not _check_ours(folder, wanted):
        repaired.append(f"{folder / MANIFEST} was damaged; all parts made again")
    elif (folder / MANIFEST).exists():
        known = Manifest.read(folder).parts
    for leftover in folder.iterdir():  # temporary files of killed processes, because this process holds the lock
        if leftover.name not in (LOCK, MANIFEST) and leftover.name.startswith(".") and OURS.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)

    def is_intact(part: tuple[str, int]) -> bool:
        name, n_rows = part
        intact = _checksum(folder / name) == known[name]
        if intact and progress:
            progress(n_rows)
        return intact

    def make_part(part: tuple[str, int]) -> tuple[str, int, str]:
        name, n_rows = part
        groups = _groups(rows, wanted.seed, stream, int(name[5:10]), n_rows)
        replace_file(folder / name, lambda path: store.write_groups(path, groups, store.SCHEMA))
        return name, n_rows, str(_checksum(folder / name))

    parts = _parts(rows)
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        listed = [part for part in parts if part[0] in known]
        intact = pool.map(is_intact, listed)
        done = {name: known[name] for (name, _), keep in zip(listed, intact, strict=True) if keep}
        missing = [part for part in parts if part[0] not in done]
        repaired += [
            f"{folder / name} was missing or damaged; it is made again" for name, _ in missing if name in known
        ]
        _check_room(folder, rows, sum(n_rows for _, n_rows in missing))
        if missing:
            # Write the manifest first, so that other processes see which dataset this folder is for.
            replace(wanted, parts=done).write(folder)
        for name, n_rows, checksum in pool.map(make_part, missing):
            done[name] = checksum
            # Write the manifest after every part, so that an interrupted call can be continued.
            replace(wanted, parts=dict(sorted(done.items()))).write(folder)
            if progress:
                progress(n_rows)
    return repaired


def _parts(rows: int) -> list[tuple[str, int]]:
    """Return the names of the part files and their numbers of rows."""
    return [
        (f"part-{number:05}.parquet", min(PART_ROWS, rows - start))
        for number, start in enumerate(range(0, rows, PART_ROWS))
    ]


def _groups(rows: int, seed: int, stream: Stream, number: int, n_rows: int) -> Iterator[list[Rows]]:
    """Yield the row groups of part `number` one at a time, so that memory stays constant."""
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
    """Return the SHA-256 of a file, or None if it is missing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
