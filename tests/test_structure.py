"""The imports between our modules follow the structure of the project, and no other package hides ours."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

BASE = {"errors", "interrupts", "machine"}
"""Modules that every folder may import. They import none of our other modules."""

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
        "benchmarks.validation",
        "benchmarks.cases",
        "benchmarks.quality_gate",
        "benchmarks.results.environment",
        "benchmarks.results.records",
        "benchmarks.results.runs",
        "benchmarks.statistics",
        "benchmarks.units",
    },
    "workshop": {"windows", *BASE, "commandline", "datasets", "adapters", "reports"},
}
LAYERS = (
    {"validation", "units"},
    {"cases"},
    {"results"},
    {"statistics", "quality_gate"},
    {"case_data"},
    {"comparison"},
    {"case_process"},
    {"supervision"},
    {"scheduling"},
    {"tools"},
    {"__main__"},
)
"""The files and folders of benchmarks/, from low to high. A module may import its own folder and lower layers."""
CLOCKS = {"time.time", "time.monotonic", "time.perf_counter", "time.process_time", "timeit", "datetime.now"}


def sources(package: str) -> list[Path]:
    """Return the files of a package, without those that have their own entry in `ALLOWED`."""
    single = ROOT / f"{package.replace('.', '/')}.py"
    own_entry = {ROOT / f"{name.replace('.', '/')}.py" for name in ALLOWED}
    return [single] if single.exists() else sorted(set((ROOT / package).rglob("*.py")) - own_entry)


def imported(source: str) -> set[str]:
    """Return the names that Python code imports, also inside functions. `from a import b` gives a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(root: Path, package: str) -> dict[str, set[str]]:
    """Return the modules of a package, each with those of the same package that it imports."""
    sources = {
        path.relative_to(root).as_posix().removesuffix(".py").replace("/", "."): path.read_text()
        for path in (root / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    return {name: {found for found in sources if _imports(source, found)} for name, source in sources.items()}


def _imports(source: str, module: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for name in imported(source))


def upward_imports(graph: dict[str, set[str]], layers: Sequence[set[str]]) -> set[str]:
    """Return the imports of a module from another folder in the same layer or in a higher one."""
    level = {name: number for number, names in enumerate(layers) for name in names}
    upward = set()
    for module, others in graph.items():
        folder = module.split(".")[1]
        for other in others:
            other_folder = other.split(".")[1]
            if folder != other_folder and level[other_folder] >= level[folder]:
                upward.add(f"{module} imports {other}")
    return upward


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of an import cycle, or an empty list if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imports_inside_functions(source: str, package: str) -> set[str]:
    """Return the imports from a package that are inside functions, where they could hide a cycle."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {name for node in functions for name in imported(ast.unparse(node)) if f"{name}.".startswith(f"{package}.")}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_the_modules_on_its_list(package: str) -> None:
    allowed = {package, *ALLOWED[package]}
    if package.endswith(".__main__"):  # a command may import everything that its folder may import
        folder = package.removesuffix(".__main__")
        allowed |= {folder, *ALLOWED[folder]}
    for path in sources(package):
        ours = {name for name in imported(path.read_text()) if name.split(".")[0] in ALLOWED}
        forbidden = {name for name in ours if not any(f"{name}.".startswith(f"{good}.") for good in allowed)}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {', '.join(sorted(forbidden))}"


def test_every_file_and_folder_of_benchmarks_has_one_layer() -> None:
    names = [module.split(".")[1] for module in modules(ROOT, "benchmarks")]
    assert sorted(set(names)) == sorted(name for layer in LAYERS for name in layer)


def test_no_module_of_benchmarks_imports_a_higher_layer() -> None:
    assert upward_imports(modules(ROOT, "benchmarks"), LAYERS) == set()


def test_the_modules_of_benchmarks_have_no_import_cycle() -> None:
    assert cycle(modules(ROOT, "benchmarks")) == []


def test_no_function_of_benchmarks_imports_another_module_of_benchmarks() -> None:
    for path in sources("benchmarks"):
        assert imports_inside_functions(path.read_text(), "benchmarks") == set(), path.relative_to(ROOT)


def test_upward_imports_cycles_and_hidden_imports_are_found(tmp_path: Path) -> None:
    files = {
        "low.py": "from package.high import table",
        "high/table.py": "import package.high.row",
        "high/row.py": "def make():\n    from package.high.table import Table\n    from package import low",
    }
    for name, source in files.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    graph = modules(tmp_path, "package")
    assert graph == {
        "package.low": {"package.high.table"},
        "package.high.table": {"package.high.row"},
        "package.high.row": {"package.high.table", "package.low"},
    }
    assert upward_imports(graph, ({"low"}, {"high"})) == {"package.low imports package.high.table"}
    assert upward_imports(graph, ({"low", "high"},)) == {
        "package.low imports package.high.table",
        "package.high.row imports package.low",
    }
    assert {"package.high.table", "package.high.row"} <= set(cycle(graph))
    graph["package.high.row"] = set()
    assert cycle(graph) == []
    hidden = imports_inside_functions(files["high/row.py"], "package")
    assert hidden == {"package.high.table.Table", "package.low"}


def test_adapters_and_datasets_import_no_command_line() -> None:
    script = (
        "import sys\n"
        "import adapters.base, adapters.baseline, adapters.registry, datasets.store, datasets.tables\n"
        "sys.exit('typer' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_no_package_but_benchmarks_reads_a_clock() -> None:
    for package in ("datasets", "adapters", "reports"):
        for path in sources(package):
            calls = {
                ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
            }
            assert not calls & CLOCKS, f"{path.relative_to(ROOT)} reads a clock"


@pytest.mark.parametrize("package", [name for name in ALLOWED if "." not in name])
def test_no_installed_package_hides_one_of_ours(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).is_relative_to(ROOT), (
        f"'import {package}' finds {found} of another package; uninstall that package, or use a fresh environment"
    )


def test_no_file_contains_the_address_of_a_package_index() -> None:
    for name in ("constraints.txt", "pyproject.toml", "noxfile.py"):
        assert "://" not in (ROOT / name).read_text(), f"{name} contains an address"
