"""The install cost of a framework: its packages, their size, and the lines of its adapter."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adapters import registry
from benchmarks.results.environment import InstallCost
from machine import ROOT

PYPROJECT = ROOT / "pyproject.toml"


def cost(name: str) -> InstallCost | None:
    """Return the install cost of a framework, or None if one of its packages is not installed.

    `adapter_lines` is counted as by `wc -l`. Java, which H2O and Spark also need, is not included.
    """
    row = registry.FRAMEWORKS[name]
    try:
        installed = closure(_required_by(row))
        size = sum(megabytes(package) for package in installed)
    except PackageNotFoundError:
        return None
    lines = row.source.read_text().count("\n")
    return InstallCost(len(installed), round(size, 1), lines)


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the names of the packages that satisfy some requirements, and of all packages that these require."""
    open_, seen = [Requirement(text) for text in requirements], set[tuple[str, frozenset[str]]]()
    while open_:
        requirement = open_.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key not in seen:
            seen.add(key)
            open_ += _dependencies(distribution(requirement.name), requirement.extras)
    return {package for package, _ in seen}


@cache
def megabytes(package: str) -> float:
    """Return the size of a package's files. Byte code does not count: some installers compile it, others do not."""
    installed = distribution(package)
    record = csv.reader((installed.read_text("RECORD") or "").splitlines())
    files = [Path(str(installed.locate_file(line[0]))) for line in record if line and not line[0].endswith(".pyc")]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _required_by(row: registry.Framework) -> Sequence[str]:
    if row.plugin:
        return row.plugin.requires
    if row.group == "core":  # this group also has what the harness needs
        return [row.distribution]
    group: list[str] = tomllib.loads(PYPROJECT.read_text())["dependency-groups"][row.group]
    return group


def _dependencies(package: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements of a package on this machine, including those of the given extras."""
    for text in package.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
