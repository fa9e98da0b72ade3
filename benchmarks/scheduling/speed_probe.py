"""The speed of the machine: a fixed piece of work before each launch shows when it changes."""

from __future__ import annotations

import time

import numpy as np

REPEATS = 5
VALUES = 1 << 19


def speed_probe() -> tuple[float, ...]:
    """Time the same arithmetic and sorting REPEATS times on one core, which takes about 0.2 s. Return the seconds."""
    values = np.random.default_rng(0).random(VALUES)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        np.sort(np.exp(np.sin(values) ** 2))
        seconds.append(time.perf_counter() - began)
    return tuple(seconds)
