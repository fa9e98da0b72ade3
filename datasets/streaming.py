"""Rows in blocks, in order or shuffled: of a table in memory, or of one that stays on the disk and is read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import store
from datasets.store import RowGroup, Rows

BLOCK_ROWS = store.GROUP_ROWS
"""Rows of a block, but for the last ones."""

BUFFER_GROUPS = 16
"""Row groups that are shuffled among each other: 2 million rows of ours, 36 MB."""

IN_MEMORY = 3
"""A training in memory may take as much as this many of its tables."""


@dataclass(frozen=True)
class InMemory:
    """All rows, as two arrays: features in cm, shape (n_rows, 4), and species codes, int8, shape (n_rows,), or None."""

    features: NDArray[np.float32]
    species: Any

    def __len__(self) -> int:
        return len(self.features)

    @property
    def has_species(self) -> bool:
        return self.species is not None

    def in_order(self) -> Iterator[Rows]:
        """Blocks in the order of the rows."""
        return _blocks(self.features, self.species)

    def shuffled(self, seed: int) -> Iterator[Rows]:
        """Blocks with each row once, at random."""
        order = np.random.default_rng(seed).permutation(len(self))
        for start in range(0, len(order), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            yield self.features.take(rows, axis=0), None if self.species is None else self.species.take(rows)


@dataclass(frozen=True)
class OnDisk:
    """The rows of a Parquet file, or of a folder of part files. What it takes of memory does not grow with them."""

    groups: list[RowGroup]

    @classmethod
    def at(cls, path: Path) -> OnDisk:
        """BadInput if columns are missing or are not numbers."""
        return cls(store.row_groups(path))

    def __len__(self) -> int:
        return sum(group.rows for group in self.groups)

    @property
    def has_species(self) -> bool:
        return self.groups[0].has_species

    def fits(self, memory_bytes: int) -> bool:
        """Whether a training in memory takes no more than `memory_bytes`."""
        return IN_MEMORY * store.ROW_BYTES * len(self) <= memory_bytes

    def in_order(self) -> Iterator[Rows]:
        """Blocks in the order of the rows."""
        for rows in _ahead(partial(store.read_groups, [group]) for group in self.groups):
            yield from _blocks(*rows)

    def shuffled(self, seed: int) -> Iterator[Rows]:
        """Blocks with each row once: row groups from all over, in random order, 16 of them well mixed at a time."""
        generator = np.random.default_rng(seed)
        order = [self.groups[number] for number in generator.permutation(len(self.groups))]

        def mix(groups: list[RowGroup]) -> Rows:
            features, species = store.read_groups(groups)
            rows = generator.permutation(len(features))
            return features.take(rows, axis=0), None if species is None else species.take(rows)

        starts = range(0, len(order), BUFFER_GROUPS)
        for rows in _ahead(partial(mix, order[start : start + BUFFER_GROUPS]) for start in starts):
            yield from _blocks(*rows)


def load(path: Path, memory_bytes: int) -> InMemory | OnDisk:
    """The Parquet at `path`: in memory, if a training there takes no more than `memory_bytes`.

    BadInput if columns are missing or are not numbers.
    """
    table = OnDisk.at(path)
    return InMemory(*store.read_groups(table.groups)) if table.fits(memory_bytes) else table


def fill(out: NDArray[Any], pieces: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Writes pieces into `out`, one after another, so that nothing but the result grows with the number of rows."""
    at = 0
    for piece in pieces:
        out[at : at + len(piece)] = piece
        at += len(piece)
    return out


def _blocks(features: NDArray[np.float32], species: Any) -> Iterator[Rows]:
    for start in range(0, len(features), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield features[rows], None if species is None else species[rows]


def _ahead(calls: Iterable[Callable[[], Rows]]) -> Iterator[Rows]:
    """What each call returns, in order; a thread makes the next while the caller is busy with the one before."""
    with ThreadPoolExecutor(1) as reader:
        coming = None
        for call in calls:
            ready, coming = coming, reader.submit(call)
            if ready:
                yield ready.result()
        if coming:
            yield coming.result()
