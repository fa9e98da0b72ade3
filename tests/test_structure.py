"""Who may import whom, and whose names they are."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALLOWED = {
    "windows": set(),
    "machine": set(),
    "commandline": {"machine"},
    "datasets": {"windows", "machine", "commandline"},
    "adapters": {"windows", "machine", "commandline", "datasets"},
    "benchmarks": {"windows", "machine", "commandline", "datasets", "adapters"},
    "reports": {
        "windows",
        "commandline",
        "datasets.files",
        "benchmarks.cases",
        "benchmarks.gate",
        "benchmarks.received",
        "benchmarks.records",
        "benchmarks.runs",
        "benchmarks.statistics",
    },
    "workshop": {"windows", "commandline", "datasets", "adapters", "reports"},
}
CLOCKS = {"time.time", "time.monotonic", "time.perf_counter", "time.process_time", "timeit", "datetime.now"}


def sources(package: str) -> list[Path]:
    single = ROOT / f"{package}.py"
    return [single] if single.exists() else sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports; `from a import b` counts as a.b, so that single modules can be allowed."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_the_house_allows(package: str) -> None:
    allowed = {package, *ALLOWED[package]}
    for path in sources(package):
        ours = {name for name in imported(path) if name.split(".")[0] in ALLOWED}
        strangers = {name for name in ours if not any(f"{name}.".startswith(f"{good}.") for good in allowed)}
        assert not strangers, f"{path.relative_to(ROOT)} imports {', '.join(sorted(strangers))}"


def test_only_the_harness_reads_a_clock() -> None:
    for package in ("datasets", "adapters", "reports"):
        for path in sources(package):
            calls = {
                ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
            }
            assert not calls & CLOCKS, f"{path.relative_to(ROOT)} reads a clock"


@pytest.mark.parametrize(
    "package", ["datasets", "adapters", "benchmarks", "reports", "commandline", "machine", "windows"]
)
def test_our_packages_are_not_shadowed(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).is_relative_to(ROOT), (
        f"'import {package}' finds {found}, which a foreign package installed: uninstall it, or use a fresh environment"
    )


def test_no_file_names_a_place_where_packages_come_from() -> None:
    for name in ("constraints.txt", "pyproject.toml", "noxfile.py"):
        assert "://" not in (ROOT / name).read_text(), f"{name} has an address"
