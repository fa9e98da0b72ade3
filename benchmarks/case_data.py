"""What a case needs before it starts: its data, and the reference that its quality gate is based on.

python -m benchmarks.case_data ROWS SEED    make all of it, so that the supervisor does not hold the data
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import LARGEST_WARMUP, Case
from benchmarks.quality_gate import Gate, Reference, gate
from benchmarks.validation import Loss, Share
from datasets import cache, flowers, scores, store
from datasets.files import read_json, write_json
from datasets.synthetic import Stream, posterior
from errors import BadInput

TEST_ROWS = 100_000
FOLDS = 5


@dataclass(frozen=True)
class Inputs:
    """The Parquet folders of a case. `test` is None for the real flowers, which are scored by cross-validation."""

    train: Path
    warmup: Path
    test: Path | None


@dataclass(frozen=True)
class ExactFit:
    """Accuracy and log-loss of the maximum-likelihood fit to a dataset, as stored in the cache."""

    rows: int
    seed: int
    format: int
    accuracy: Share
    log_loss: Loss


def inputs(rows: int, seed: int) -> Inputs:
    """Return where the data of a case is stored. The warm-up has other rows, as many as the case up to 100,000."""
    return Inputs(
        train=cache.cached(rows, seed),
        warmup=cache.cached(min(rows, LARGEST_WARMUP), seed, Stream.WARMUP),
        test=None if rows == flowers.ROWS else cache.cached(TEST_ROWS, seed, Stream.TEST),
    )


def check_room(sizes: Sequence[int], seed: int) -> None:
    """Raise BadInput if the disk of the cache has no room for the datasets that these sizes still need."""
    wanted = {cache.cached(n_rows, seed, stream): n_rows for rows in sizes for stream, n_rows in _streams(rows).items()}
    needed = int(1.02 * store.ROW_BYTES * sum(n_rows for folder, n_rows in wanted.items() if not folder.exists()))
    folder = cache.cache_folder().absolute()
    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    if not os.access(existing, os.W_OK):
        raise BadInput(
            f"{existing} cannot be written to, but the data is stored in {folder}; "
            "set IRISBENCH_DATA to a folder that you can write to"
        )
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise BadInput(
            f"--rows {max(sizes):,}: the data needs {needed / 2**30:,.1f} GiB in {folder}, and {free / 2**30:,.1f} GiB "
            "are free. Ask for fewer rows, free disk space, or set IRISBENCH_DATA to a folder on a larger disk"
        )


def make(rows: int, seed: int) -> None:
    """Make the missing or damaged data of a case. Print repairs on standard error."""
    for stream, n_rows in _streams(rows).items():
        for line in cache.make(cache.cached(n_rows, seed, stream), n_rows, seed, stream):
            print(line, file=sys.stderr)
    if rows != flowers.ROWS:
        maximum_likelihood(rows, seed)


def _streams(rows: int) -> dict[Stream, int]:
    """Return the number of rows of each dataset that a case needs."""
    return {Stream.TRAIN: rows, Stream.WARMUP: min(rows, LARGEST_WARMUP), Stream.TEST: TEST_ROWS}


def case_gate(case: Case) -> Gate:
    """Return the quality gate of a case. `make` must have made its data."""
    if case.rows == flowers.ROWS:
        return gate(case.model, case.rows, None)
    if case.model == "logistic":
        return gate(case.model, case.rows, maximum_likelihood(case.rows, case.seed))
    features, species = test_rows(case.seed)
    truth = posterior(features)
    bayes = Reference(scores.accuracy(species, truth.argmax(axis=1)), scores.log_loss(species, truth))
    return gate(case.model, case.rows, bayes)


def test_rows(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return features and species of the unseen flowers on which all cases with this seed are scored."""
    features, species = store.read(cache.cached(TEST_ROWS, seed, Stream.TEST))
    assert species is not None
    return features, species


def maximum_likelihood(rows: int, seed: int) -> Reference:
    """Return the test scores of the maximum-likelihood logistic regression on the same rows (the first part file).

    The result is cached. A damaged result, or one for other data, is computed again.
    """
    path = cache.cache_folder() / f"maximum-likelihood-{rows}-seed{seed}-format{cache.FORMAT}.json"
    try:
        kept = read_json(path, ExactFit)
        if (kept.rows, kept.seed, kept.format) == (rows, seed, cache.FORMAT):
            return Reference(kept.accuracy, kept.log_loss)
        print(f"{path} belongs to other data and is made again", file=sys.stderr)
    except FileNotFoundError:
        pass
    except BadInput as error:
        print(f"{error}. It is made again", file=sys.stderr)
    # Imported here because a case only reads the cache, and must not import SciPy before its import phase.
    from datasets.maximum_likelihood import class_probabilities

    features, species = store.read(store.part_files(cache.cached(rows, seed))[0])
    assert species is not None
    test_features, test_species = test_rows(seed)
    probabilities = class_probabilities(features, species, test_features)
    fit = Reference(
        scores.accuracy(test_species, probabilities.argmax(axis=1)), scores.log_loss(test_species, probabilities)
    )
    # No lock is needed: two processes write the same content.
    write_json(path, ExactFit(rows, seed, cache.FORMAT, fit.accuracy, fit.log_loss))
    return fit


def folds(seed: int, folder: Path) -> list[tuple[Path, Path, NDArray[np.int8]]]:
    """Write stratified folds of the real flowers into `folder`; return their training files, test files and species."""
    features, species = flowers.real_flowers()
    generator = np.random.default_rng(seed)
    fold = np.empty(len(species), dtype=int)
    for code in range(len(flowers.SPECIES)):
        members = generator.permutation(np.flatnonzero(species == code))
        fold[members] = np.arange(len(members)) % FOLDS
    written = []
    for number in range(FOLDS):
        train, test = folder / f"fold{number}-train.parquet", folder / f"fold{number}-test.parquet"
        store.write(train, features[fold != number], species[fold != number])
        store.write(test, features[fold == number], species[fold == number])
        written.append((train, test, species[fold == number]))
    return written


if __name__ == "__main__":
    try:
        make(int(sys.argv[1]), int(sys.argv[2]))
    except BadInput as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or cache.cache_folder()}: {error.strerror}")
