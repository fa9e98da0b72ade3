"""Whether two runs can be compared: the differences between their machines, versions and settings."""

from __future__ import annotations

import math
from typing import Any

from adapters import registry
from benchmarks.results.environment import Environment, Machine

MACHINE = (
    *("processor", "cores", "usable_cores", "memory_bytes", "system", "architecture", "governor", "power", "python"),
)
SETTINGS = ("rounds", "time_limit_s", "case_limit_s", "memory_limit_bytes")
"""Threads and seed are settings of each case."""
SHARED = ("numpy", "pyarrow", "pytest", "pytest-benchmark")
"""Packages that take part in every case."""


def differences(before: Environment, after: Environment, framework: str) -> list[str]:
    """Return what differs for one framework between two runs, such as "numpy was 2.4.6 and is 2.5.0".

    A value that is missing on one side is not a difference.
    """
    row = registry.FRAMEWORKS.get(framework)
    pairs: dict[str, tuple[Any, Any]] = {}
    machines = before.machine or Machine(), after.machine or Machine()
    for name in MACHINE:
        pairs[name] = (getattr(machines[0], name), getattr(machines[1], name))
    for name in SETTINGS:
        pairs[name] = (getattr(before.settings, name), getattr(after.settings, name))
    for name in SHARED:
        pairs[name] = (before.packages.get(name), after.packages.get(name))
    if row and row.java:
        pairs["Java"] = (before.java, after.java)
    pairs[framework] = (before.framework(framework).version, after.framework(framework).version)
    return [
        f"{name.replace('_', ' ')} was {old} and is {new}"
        for name, (old, new) in pairs.items()
        if old is not None and new is not None and not _same(old, new)
    ]


def recipe_changed(before: Environment, after: Environment, framework: str) -> list[str]:
    """Return one line if the code that trains a framework differs, or an empty list."""
    old, new = (environment.framework(framework).recipe_digest for environment in (before, after))
    return [f"the code that trains {framework} has changed"] if None not in (old, new) and old != new else []


def _same(old: Any, new: Any) -> bool:
    """Return whether values are equal. The memory of one machine may differ by 1 % between two kernels."""
    if isinstance(old, int) and isinstance(new, int) and min(old, new) > 2**20:
        return math.isclose(old, new, rel_tol=0.01)
    return bool(old == new)
