"""Which modules may import which others, and that our packages are not shadowed."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BASE = {"errors", "interrupts", "machine"}
"""Modules that every folder may import: they import nothing of ours, and no command line."""

ALLOWED = {
    "windows": set(),
    "errors": set(),
    "interrupts": set(),
    "machine": set(),
    "commandline": {*BASE, "datasets.sizes"},
    "datasets": BASE,
    "datasets.__main__": {"windows", "commandline"},
    "adapters": {*BASE, "datasets"},
    "adapters.__main__": {"windows", "commandline"},
    "benchmarks": {"windows", *BASE, "commandline", "datasets", "adapters"},
    "reports": {
        "windows",
        *BASE,
        "commandline",
        "datasets.files",
        "benchmarks.cases",
        "benchmarks.gate",
        "benchmarks.bounds",
        "benchmarks.run_folder.records",
        "benchmarks.run_folder.runs",
        "benchmarks.statistics",
    },
    "workshop": {"windows", *BASE, "commandline", "datasets", "adapters", "reports"},
}
CLOCKS = {"time.time", "time.monotonic", "time.perf_counter", "time.process_time", "timeit", "datetime.now"}


def sources(package: str) -> list[Path]:
    """Return the files of a package, without those that have an entry of their own in `ALLOWED`."""
    single = ROOT / f"{package.replace('.', '/')}.py"
    own_entry = {ROOT / f"{name.replace('.', '/')}.py" for name in ALLOWED}
    return [single] if single.exists() else sorted(set((ROOT / package).rglob("*.py")) - own_entry)


def imported(path: Path) -> set[str]:
    """Return every module that a file imports. `from a import b` counts as a.b, so that a module can be allowed."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_it_is_allowed_to_import(package: str) -> None:
    allowed = {package, *ALLOWED[package]}
    if package.endswith(".__main__"):  # a command may import what its folder may
        folder = package.removesuffix(".__main__")
        allowed |= {folder, *ALLOWED[folder]}
    for path in sources(package):
        ours = {name for name in imported(path) if name.split(".")[0] in ALLOWED}
        forbidden = {name for name in ours if not any(f"{name}.".startswith(f"{good}.") for good in allowed)}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {', '.join(sorted(forbidden))}"


def test_adapters_and_datasets_import_no_command_line() -> None:
    script = (
        "import sys\n"
        "import adapters.base, adapters.baseline, adapters.registry, datasets.store, datasets.tables\n"
        "sys.exit('typer' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_only_benchmarks_reads_a_clock() -> None:
    for package in ("datasets", "adapters", "reports"):
        for path in sources(package):
            calls = {
                ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
            }
            assert not calls & CLOCKS, f"{path.relative_to(ROOT)} reads a clock"


@pytest.mark.parametrize(
    "package",
    [name for name in ALLOWED if "." not in name],
)
def test_our_packages_are_not_shadowed(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).is_relative_to(ROOT), (
        f"'import {package}' finds {found}, which a foreign package installed: uninstall it, or use a fresh environment"
    )


def test_no_file_contains_the_address_of_a_package_index() -> None:
    for name in ("constraints.txt", "pyproject.toml", "noxfile.py"):
        assert "://" not in (ROOT / name).read_text(), f"{name} has an address"
