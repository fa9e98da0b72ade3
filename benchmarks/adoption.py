"""What it costs to adopt a framework: the packages that come with it, their size, and the code that it took here."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adapters import registry

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def cost(name: str) -> dict[str, Any] | None:
    """Installed packages and megabytes (1e6 bytes) of a framework, and the lines of its adapter as `wc -l` counts them.

    None where a package is not installed. Java, which H2O and Spark need beside their packages, is not counted.
    """
    row = registry.FRAMEWORKS[name]
    try:
        installed = closure(_wanted(row))
        size = sum(megabytes(package) for package in installed)
    except PackageNotFoundError:
        return None
    lines = row.source.read_text().count("\n")
    return {"packages": len(installed), "megabytes": round(size, 1), "adapter_lines": lines}


def closure(wanted: Iterable[str]) -> set[str]:
    """The names of the packages that bring what is wanted, and of all that these require in turn."""
    open_, seen = [Requirement(text) for text in wanted], set[tuple[str, frozenset[str]]]()
    while open_:
        requirement = open_.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key not in seen:
            seen.add(key)
            open_ += _required(distribution(requirement.name), requirement.extras)
    return {package for package, _ in seen}


@cache
def megabytes(package: str) -> float:
    """Size of a package's files. Byte code is left out: some installers compile it, others leave that to Python."""
    installed = distribution(package)
    record = csv.reader((installed.read_text("RECORD") or "").splitlines())
    files = [Path(str(installed.locate_file(line[0]))) for line in record if line and not line[0].endswith(".pyc")]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _wanted(row: registry.Framework) -> Sequence[str]:
    if row.plugin:
        return row.plugin.requires
    if row.group == "core":  # which holds what the harness itself needs, too
        return [row.distribution]
    wanted: list[str] = tomllib.loads(PYPROJECT.read_text())["dependency-groups"][row.group]
    return wanted


def _required(package: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    """What a package requires on this machine, with the extras that were asked for."""
    for text in package.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
