"""Whether two measurements may be held against each other: what differs between the conditions they were made under."""

from __future__ import annotations

import math
from typing import Any

from adapters import registry

MACHINE = (
    "processor",
    "cores",
    "usable_cores",
    "memory_bytes",
    "system",
    "architecture",
    "governor",
    "power",
    "python",
)
SETTINGS = ("threads", "seed", "rounds", "time_limit_s", "case_limit_s", "memory_limit_bytes")
SHARED = ("numpy", "pyarrow", "pytest", "pytest-benchmark")
"""Packages that take part in every case."""


def differences(before: dict[str, Any], after: dict[str, Any], framework: str) -> list[str]:
    """What differs for one framework between two environment.json, in words: "numpy was 2.4.6 and is 2.5.0".

    Where a value is missing on one side, nothing is known to differ.
    """
    row = registry.FRAMEWORKS.get(framework)
    named: dict[str, tuple[Any, Any]] = {}
    for part, names in (("machine", MACHINE), ("settings", SETTINGS), ("packages", SHARED)):
        for name in names:
            named[name.replace("_", " ")] = (_get(before, part, name), _get(after, part, name))
    if row and row.java:
        named["Java"] = (before.get("java"), after.get("java"))
    named[framework] = (
        _get(before, "frameworks", framework, "version"),
        _get(after, "frameworks", framework, "version"),
    )
    return [
        f"{name} was {old} and is {new}"
        for name, (old, new) in named.items()
        if old is not None and new is not None and not _same(old, new)
    ]


def recipe_changed(before: dict[str, Any], after: dict[str, Any], framework: str) -> list[str]:
    """Return what is different in the code that trains a framework, in words: nothing or one line."""
    old, new = (_get(environment, "frameworks", framework, "recipe_digest") for environment in (before, after))
    return [f"the code that trains {framework} has changed"] if None not in (old, new) and old != new else []


def _same(old: Any, new: Any) -> bool:
    """Equal, or amounts of memory as near as those of one machine under two kernels."""
    if isinstance(old, int) and isinstance(new, int) and min(old, new) > 2**20:
        return math.isclose(old, new, rel_tol=0.01)
    return bool(old == new)


def _get(values: Any, *names: str) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return values
