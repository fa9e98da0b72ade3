"""How fast is the machine just now? A fixed piece of work before each case shows when it moved."""

from __future__ import annotations

import time

import numpy as np

REPEATS = 5
VALUES = 1 << 19


def probe() -> tuple[float, ...]:
    """Seconds of each of REPEATS runs of the same work, together about 0.2 s: arithmetic and sorting on one core."""
    values = np.random.default_rng(0).random(VALUES)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        np.sort(np.exp(np.sin(values) ** 2))
        seconds.append(time.perf_counter() - began)
    return tuple(seconds)
