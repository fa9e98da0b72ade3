"""Discard standard error, because TensorFlow has no setting that makes it quiet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def discard_stderr() -> Iterator[None]:
    """Discard what the block writes to standard error. Exceptions are not affected.

    TensorFlow 2.21 logs its build and missing GPUs at each import and start, even with TF_CPP_MIN_LOG_LEVEL=3.
    """
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
