"""Facts about the machine, and limits for threads. A fact is None if the system does not provide it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).resolve().parent
"""The folder of this repository."""

Answer = TypeVar("Answer")

ASSUMED_MEMORY = 4 << 30
"""Bytes of memory to assume if the system does not tell."""

SMALLEST_MEMORY_BYTES = 2**27
"""The smallest memory limit: Python, NumPy and pytest alone take about 90 MiB."""


def probe(ask: Callable[[], Answer]) -> Answer | None:
    """Return the result of `ask`, or None if it fails because the system does not provide the fact."""
    try:
        return ask()
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError, NotImplementedError):
        return None
    except psutil.Error:
        return None


def usable_cores() -> int:
    """Return the number of cores that this process may use. The machine may have more."""
    return len(probe(lambda: os.sched_getaffinity(0)) or ()) or os.cpu_count() or 1


def thread_variables(threads: int) -> dict[str, str]:
    """Return the environment variables that limit the threads of numeric libraries in a new process."""
    libraries = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")
    return {f"{library}_NUM_THREADS": str(threads) for library in libraries}


def bound_cores(threads: int) -> list[int] | None:
    """Return the cores to which `pin` binds a process, or None if the system cannot bind processes."""
    usable = probe(lambda: os.sched_getaffinity(0))
    return sorted(usable)[:threads] if usable else None


def pin(threads: int) -> None:
    """Bind this process to as many of its usable cores, if the system supports that."""
    if cores := bound_cores(threads):
        probe(lambda: os.sched_setaffinity(0, cores))


def total_memory() -> int | None:
    """Return the bytes of memory of the machine."""
    return probe(lambda: psutil.virtual_memory().total) or probe(
        lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )
