"""Silence for TensorFlow, which no setting of its own gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hushed() -> Iterator[None]:
    """Throws away what is written to standard error meanwhile. Errors come as exceptions all the same.

    TensorFlow 2.21 tells of its build, and of GPUs that it lacks, at each import and start, whatever
    TF_CPP_MIN_LOG_LEVEL says.
    """
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
