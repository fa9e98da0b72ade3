"""Tables in memory and on disk, and their rows in blocks, in order or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from datasets import store
from datasets.store import RowGroup, Rows

BLOCK_ROWS = store.GROUP_ROWS
"""Rows of a block, except the last one."""

BUFFER_GROUPS = 16
"""Row groups that are shuffled together: 2 million rows, 36 MB."""

IN_MEMORY = 3
"""Memory that training may need, as a multiple of the size of its table."""


class Sliceable(Protocol):
    """An array of NumPy or a tensor of a framework."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Self: ...


ArrayT = TypeVar("ArrayT", bound=Sliceable)


@dataclass(frozen=True)
class InMemory(Generic[ArrayT]):
    """All rows as two arrays: features in cm, shape (n_rows, 4), and class labels, int8, shape (n_rows,), or None."""

    features: ArrayT
    species: ArrayT | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def has_species(self) -> bool:
        return self.species is not None

    def in_order(self) -> Iterator[tuple[ArrayT, Any]]:
        """Yield blocks of rows in their order."""
        return _blocks(self.features, self.species)

    def shuffled(self: InMemory[NDArray[Any]], seed: int) -> Iterator[Rows]:
        """Yield blocks of rows in random order. This is for NumPy; frameworks shuffle with their own random numbers."""
        order = np.random.default_rng(seed).permutation(len(self))
        for start in range(0, len(order), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            yield self.features.take(rows, axis=0), None if self.species is None else self.species.take(rows)


@dataclass(frozen=True)
class OnDisk:
    """The rows of a Parquet file, or of a folder of part files. Reading takes constant memory."""

    groups: list[RowGroup]

    @classmethod
    def at(cls, path: Path) -> OnDisk:
        """Return the table at `path`. Raise BadInput if columns are missing or not numeric."""
        return cls(store.row_groups(path))

    def __len__(self) -> int:
        return sum(group.rows for group in self.groups)

    @property
    def has_species(self) -> bool:
        return self.groups[0].has_species

    def fits(self, memory_bytes: int) -> bool:
        """Return whether training in memory takes at most `memory_bytes`."""
        return IN_MEMORY * store.ROW_BYTES * len(self) <= memory_bytes

    def in_order(self) -> Iterator[Rows]:
        """Yield blocks of rows in their order."""
        for rows in _ahead(partial(store.read_groups, [group]) for group in self.groups):
            yield from _blocks(*rows)

    def shuffled(self, seed: int) -> Iterator[Rows]:
        """Yield blocks of rows in random order. 16 random row groups are read at a time and shuffled together."""
        generator = np.random.default_rng(seed)
        order = [self.groups[number] for number in generator.permutation(len(self.groups))]

        def mix(groups: list[RowGroup]) -> Rows:
            features, species = store.read_groups(groups)
            rows = generator.permutation(len(features))
            return features.take(rows, axis=0), None if species is None else species.take(rows)

        starts = range(0, len(order), BUFFER_GROUPS)
        for rows in _ahead(partial(mix, order[start : start + BUFFER_GROUPS]) for start in starts):
            yield from _blocks(*rows)


def load(path: Path, memory_bytes: int) -> InMemory[NDArray[Any]] | OnDisk:
    """Return the table at `path`, in memory if training there takes at most `memory_bytes`.

    Raise BadInput if columns are missing or not numeric.
    """
    table = OnDisk.at(path)
    return InMemory(*store.read_groups(table.groups)) if table.fits(memory_bytes) else table


def fill(out: NDArray[Any], pieces: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Copy pieces into `out` one after another, so that only the result grows with the number of rows. Return `out`."""
    at = 0
    for piece in pieces:
        out[at : at + len(piece)] = piece
        at += len(piece)
    return out


def _blocks(features: ArrayT, species: ArrayT | None) -> Iterator[tuple[ArrayT, Any]]:
    for start in range(0, len(features), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield features[rows], None if species is None else species[rows]


def _ahead(calls: Iterable[Callable[[], Rows]]) -> Iterator[Rows]:
    """Yield the result of each call in order. A thread computes the next result in the meantime."""
    with ThreadPoolExecutor(1) as reader:
        pending = None
        for call in calls:
            ready, pending = pending, reader.submit(call)
            if ready:
                yield ready.result()
        if pending:
            yield pending.result()
