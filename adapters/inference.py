"""Predict the species of many flowers in pieces, with a progress bar. A results file appears when it is complete."""

from __future__ import annotations

import ctypes
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from adapters.base import Adapter
from adapters.errors import ForeignModel
from datasets import store, tables
from datasets.files import check_folder, replacing
from datasets.flowers import SPECIES
from errors import WRONG_PATH, BadInput

STANDARD = Path("-")
"""Name of standard input and standard output."""

SCHEMA = pa.schema({"species": pa.string(), **{f"probability_{name}": pa.float64() for name in SPECIES}})
LARGE_BLOCK_BYTES = 2**20
"""Memory blocks of at least this size are returned to the system when they are freed."""

DIGITS = 6
"""Decimal places of the probabilities."""

INPUT = re.compile(r"\.(csv|csv\.gz|tsv)$", re.IGNORECASE)
"""Suffixes of the files that are read from a folder."""


class Job(NamedTuple):
    """A file of flowers, and the path for its results."""

    data: Path
    output: Path
    in_folder: bool = False
    """Whether the user named the folder of `data` instead of the file."""
    not_read: tuple[str, ...] = ()
    """Names of the files in the folder that are not read. Set in the last job of a folder."""


class NotWritten(Exception):
    """Results cannot be written, for example to a full disk. The message says where and why. The exit code is 1."""


def jobs(data: Path, output: Path, keep: Sequence[str]) -> list[Job]:
    """Return one job, or a job for each CSV file in a folder. Do not create any file yet.

    Raise BadInput if results would replace an input, or if a column in `keep` has the name of a result column.
    """
    if clash := [name for name in keep if name in SCHEMA.names or keep.count(name) > 1]:
        raise BadInput(f"--keep {clash[0]}: the results would have two columns of this name; rename it in {data}")
    if (data == STANDARD and sys.stdin is None) or (output == STANDARD and sys.stdout is None):
        raise NotWritten(f"standard {'input' if data == STANDARD and sys.stdin is None else 'output'} is closed")
    visible = sorted(path for path in data.iterdir() if not path.name.startswith(".")) if data.is_dir() else []
    files = [path for path in visible if INPUT.search(path.name)]
    if not files:
        if output.is_dir():
            raise BadInput(f"{output} is a folder; name a file to write")
        if _same(output, sys.stdout):
            output = STANDARD
        _check_links(output)
        inputs = store.part_files(data) if data.is_dir() else [data]
        if any(_same(output, path) for path in inputs) or (data == STANDARD and _same(output, sys.stdin)):
            raise BadInput(f"{output} is the input; name another file to write")
        check_folder(output.parent)
        return [Job(data, output)]
    if output == STANDARD or (output.exists() and not output.is_dir()):
        raise BadInput(f"{data} is a folder of {len(files)} files; name a folder to write their results into")
    if _same(output, data):
        raise BadInput(f"{output} is the folder of the input; name another folder to write into")
    _check_links(output)
    pairs: dict[Path, Path] = {}
    for file in files:
        target = output / INPUT.sub(".csv", file.name)
        if target in pairs:
            raise BadInput(f"{pairs[target]} and {file.name} would both give {target.name}; rename one of them")
        pairs[target] = file
    for target in pairs:
        if any(_same(target, file) for file in files):
            raise BadInput(f"{target} is one of the files to read; remove it or name another folder to write into")
    jobs = [Job(file, target, in_folder=True) for target, file in pairs.items()]
    others = tuple(path.name for path in visible if path not in files and path.is_file())
    return [*jobs[:-1], jobs[-1]._replace(not_read=others)]


def _same(path: Path, other: Path | Any) -> bool:
    """Return whether `path` names the same file as another path or a standard stream."""
    if other is None or path == STANDARD:
        return False
    try:
        status = os.stat(other) if isinstance(other, Path) else os.fstat(other.fileno())
        return os.path.samestat(os.stat(path), status)
    except (OSError, ValueError):  # ValueError: a stream without a descriptor, as in tests
        return False


def _check_links(path: Path) -> None:
    """Raise BadInput if `path` contains a symbolic link of another account, which could name any file of the user."""
    pending, checked = [path.absolute()], set[Path]()
    while pending:
        end = pending.pop()
        for step in {end, *end.parents} - checked:
            checked.add(step)
            if step.is_symlink():
                if step.lstat().st_uid not in (0, os.geteuid()):
                    raise BadInput(f"{step} is a symbolic link of another account; name another file to write")
                pending.append(step.parent / step.readlink())


def predict(
    adapter: Adapter[Any, Any], model: Any, job: Job, folder: Path, console: Console, keep: Sequence[str] = ()
) -> int:
    """Write the columns in `keep`, the species and the probabilities as CSV. Return the number of rows.

    `folder` is for temporary files. `console` shows the progress and, after the last job of a folder, the names of the
    files that are not read.

    Raises
    ------
    BadInput
        The flowers cannot be read, or the user should name another path for the results.
    NotWritten
        The results cannot be written, for example to a full disk.
    """
    try:
        if job.in_folder and job.data.exists() and not (job.data.is_file() or job.data.is_dir()):
            raise BadInput(f"{job.data} is not a regular file; remove it")
        return _predict(adapter, model, job, folder, console, keep)
    finally:
        for name in job.not_read:
            console.print(f"not read: {name}", soft_wrap=True, markup=False)


def _predict(
    adapter: Adapter[Any, Any], model: Any, job: Job, folder: Path, console: Console, keep: Sequence[str]
) -> int:
    """Do the work of `predict`, once it is clear that the input is no FIFO in a folder."""
    data, output = job.data, job.output
    schema = pa.schema([pa.field(name, pa.string()) for name in keep] + list(SCHEMA))
    # Text of the user may need quotes. Species and probabilities do not.
    quotes = "needed" if keep else "none"
    options = pa.csv.WriteOptions(quoting_style=quotes, quoting_header=quotes)
    rows = 0

    def write(sink: Path | BinaryIO) -> None:
        nonlocal rows
        with _writing(output):
            writer = pa.csv.CSVWriter(sink, schema, write_options=options)
        for piece in pieces:
            results = _results(_probabilities(adapter, model, piece.features, folder))
            with _writing(output):
                writer.write(pa.table([*piece.kept, *results], schema=schema))
            rows += len(piece.features)
        with _writing(output):
            writer.close()

    with _flowers(data, console, keep) as pieces:
        with _writing(output):
            _check_links(output)  # again, because starting a framework takes seconds
            if output != STANDARD:  # only now, so that unreadable input leaves no empty folder
                output.parent.mkdir(parents=True, exist_ok=True)
            stream = _open_stream(output)
        if stream is None:
            with ExitStack() as stack:
                with _writing(output):
                    beside = stack.enter_context(replacing(output.resolve()))
                write(beside)
                with _writing(output):
                    stack.close()
            return rows
        try:
            write(stream)
            with _writing(output):
                stream.close()
        finally:
            with suppress(OSError):  # the rest of its buffer cannot be written, either
                stream.close()
    return rows


def return_freed_memory() -> None:
    """Make glibc return large memory blocks, and keep few pools. By default, both grow with what has been freed."""
    mmap_threshold, trim_threshold, most_arenas = -3, -1, -8  # constants of malloc.h
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no mallopt
        libc = ctypes.CDLL(None)
        for parameter in (mmap_threshold, trim_threshold):
            libc.mallopt(parameter, LARGE_BLOCK_BYTES)
        libc.mallopt(most_arenas, 2)


def _open_stream(output: Path) -> BinaryIO | None:
    """Open standard output, a FIFO or a device for writing. Return None for a path that a new file replaces."""
    if output == STANDARD:
        # A duplicate, so that Python does not try to write the rest of the buffer to a full disk at exit.
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        regular = stat.S_ISREG(output.stat().st_mode)
    except FileNotFoundError:
        return None
    return None if regular else output.open("wb")


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Convert an error in writing to NotWritten, or to BadInput if the user should name another path.

    BrokenPipeError remains unchanged, because a command with a closed pipe ends without a message.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if output == STANDARD else output
        why = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        if output != STANDARD and error.errno in WRONG_PATH:
            raise BadInput(f"{name} cannot be written: {why}; name another file to write") from None
        raise NotWritten(f"{name} cannot be written: {why}") from None


@contextmanager
def _flowers(data: Path, console: Console, keep: Sequence[str]) -> Iterator[Iterator[tables.Piece]]:
    """Yield the pieces of the input. The first piece is read at once, so that most errors occur before writing.

    On a terminal, show the progress in per cent for a CSV file, and a moving bar for other input.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    progress = Progress(
        *columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_terminal
    )
    with progress, ExitStack() as stack:
        pieces: Iterable[tables.Piece]
        if data == STANDARD:
            pieces = tables.pieces(Path("standard input"), with_species=False, file=sys.stdin.buffer, keep=keep)
            pieces = progress.track(pieces, description="standard input")
        elif tables.is_parquet(data) or not data.exists():
            pieces = progress.track(tables.pieces(data, with_species=False, keep=keep), description=data.name)
        else:
            file = stack.enter_context(progress.open(data, "rb", description=data.name))
            pieces = tables.pieces(data, with_species=False, file=file, keep=keep)
        pieces = iter(pieces)
        yield chain([next(pieces)], pieces)


def _probabilities(
    adapter: Adapter[Any, Any], model: Any, features: NDArray[np.float32], folder: Path
) -> NDArray[np.float32]:
    """Predict through a Parquet file, which every framework reads. Raise ForeignModel for probabilities such as NaN."""
    store.write(folder / "flowers.parquet", features, None)
    table = adapter.load(folder / "flowers.parquet")
    try:
        probabilities = adapter.predict_proba(model, table)
    finally:
        adapter.release(table)
    if not np.isfinite(probabilities).all():
        raise ForeignModel("the model predicts probabilities that are not finite; train it again")
    return probabilities


def _results(probabilities: NDArray[np.float32]) -> list[pa.Array]:
    """Return the most probable species and the probabilities as columns."""
    names = pa.DictionaryArray.from_arrays(probabilities.argmax(axis=1).astype(np.int32), list(SPECIES))
    rounded = np.round(probabilities.astype(np.float64), DIGITS)
    return [names.cast(pa.string()), *map(pa.array, rounded.T.copy())]
