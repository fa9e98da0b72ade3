"""What the system says of the machine. Each answer may be missing or refused; it is then None, and nothing ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import psutil

Answer = TypeVar("Answer")

ASSUMED_MEMORY = 4 << 30
"""The bytes to plan with where the system does not say how much memory it has."""

SMALLEST_MEMORY_BYTES = 2**27
"""The smallest memory limit: Python, NumPy and pytest alone take about 90 MiB."""


def probe(ask: Callable[[], Answer]) -> Answer | None:
    """Return what `ask` returns, or None if the system has no answer or refuses it."""
    try:
        return ask()
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError, NotImplementedError):
        return None
    except psutil.Error:
        return None


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    return len(probe(lambda: os.sched_getaffinity(0)) or ()) or os.cpu_count() or 1


def pin(cores: int) -> None:
    """Keep this process on the first `cores` of the cores it may use, where the system allows that."""
    probe(lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores]))


def total_memory() -> int | None:
    """Return the bytes of memory of the machine."""
    return probe(lambda: psutil.virtual_memory().total) or probe(
        lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )
