"""Naming many flowers with a trained model: in pieces, with a progress bar, and a file that is whole or not there."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from adapters.base import Adapter
from datasets import store, tables
from datasets.files import replace_file
from datasets.flowers import SPECIES

STANDARD = Path("-")
"""Standard input and standard output."""

SCHEMA = pa.schema({"species": pa.string(), **{f"probability_{name}": pa.float64() for name in SPECIES}})
DIGITS = 6
"""Of the probabilities that are written."""


def predict(adapter: Adapter, model: Any, data: Path, output: Path, folder: Path, console: Console) -> int:
    """Writes the species and probabilities of the flowers at `data` as CSV, and returns how many they were.

    `folder` is for files on the way, `console` for the progress. BadInput if the flowers cannot be read.
    """
    rows = 0

    def write(sink: Path | BinaryIO) -> None:
        nonlocal rows
        plain = pa.csv.WriteOptions(quoting_style="none", quoting_header="none")
        with pa.csv.CSVWriter(sink, SCHEMA, write_options=plain) as writer:
            for features in pieces:
                writer.write(_named(_probabilities(adapter, model, features, folder)))
                rows += len(features)

    with _flowers(data, console) as pieces:
        if output == STANDARD:
            write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            replace_file(output, write)
    return rows


@contextmanager
def _flowers(data: Path, console: Console) -> Iterator[Iterator[NDArray[np.float32]]]:
    """The flowers piece by piece, of which the first is there: what is wrong from the beginning is told before
    anything is written. On a terminal it shows how far a file of CSV has been read; of all else, that it goes on.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    progress = Progress(
        *columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_terminal
    )
    with progress, ExitStack() as stack:
        pieces: Iterable[tables.Rows]
        if data == STANDARD:
            pieces = tables.pieces(Path("standard input"), with_species=False, file=sys.stdin.buffer)
            pieces = progress.track(pieces, description="standard input")
        elif tables.is_parquet(data) or not data.exists():
            pieces = progress.track(tables.pieces(data, with_species=False), description=data.name)
        else:
            file = stack.enter_context(progress.open(data, "rb", description=data.name))
            pieces = tables.pieces(data, with_species=False, file=file)
        features = (features for features, _ in pieces)
        yield chain([next(features)], features)


def _probabilities(adapter: Adapter, model: Any, features: NDArray[np.float32], folder: Path) -> NDArray[np.float32]:
    """By way of a Parquet file, which every framework reads."""
    store.write(folder / "flowers.parquet", features, None)
    table = adapter.load(folder / "flowers.parquet")
    try:
        return adapter.predict_proba(model, table)
    finally:
        adapter.release(table)


def _named(probabilities: NDArray[np.float32]) -> pa.Table:
    """The most probable species, and the probabilities, as columns."""
    names = pa.DictionaryArray.from_arrays(probabilities.argmax(axis=1).astype(np.int32), list(SPECIES))
    rounded = np.round(probabilities.astype(np.float64), DIGITS)
    return pa.table([names.cast(pa.string()), *rounded.T.copy()], schema=SCHEMA)
