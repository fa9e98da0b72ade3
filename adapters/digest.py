"""Digests of source code that do not depend on its docstrings, comments and layout."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from machine import ROOT

PACKAGES = ("adapters", "datasets")
"""The folders whose modules an adapter may import."""

NOT_TRAINING = {
    *("adapters.archives", "adapters.keras_file", "adapters.skops_file", "adapters.spark_folder"),  # restore
    *("adapters.errors", "adapters.quiet", "adapters.exit_with_parent"),
    "datasets.files",
}
"""Modules that adapters import, and that do not affect training."""


def of_recipe(path: Path) -> str:
    """Return the digest of an adapter, from its source and all modules of irisbench that affect its training."""
    sources = {path: _statements(path.read_bytes())}
    pending = [path]
    while pending:
        for module in _imported(sources[pending.pop()]):
            if module not in sources:
                sources[module] = _statements(module.read_bytes())
                pending.append(module)
    shared = sorted(sources.keys() - {path})
    return _digest(*(sources[each] for each in (path, *shared)))


def of_source(source: bytes) -> str:
    """Return the digest of one source file."""
    return _digest(_statements(source))


def _digest(*trees: ast.Module) -> str:
    # ast.dump leaves out line numbers, so layout does not count.
    return hashlib.sha256("\0".join(map(ast.dump, trees)).encode()).hexdigest()[:16]


@lru_cache(maxsize=64)
def _statements(source: bytes) -> ast.Module:
    """Return the syntax tree without docstrings, including those of constants."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [statement for statement in body if not _is_string(statement)] or [ast.Pass()]
    return tree


def _is_string(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imported(tree: ast.Module) -> Iterator[Path]:
    """Yield the files of irisbench that a module imports, except those in NOT_TRAINING."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.partition(".")[0] in PACKAGES and name not in NOT_TRAINING and file.is_file():
                yield file
