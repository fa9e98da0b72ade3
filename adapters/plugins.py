"""Adapters from outside this repository: read the dictionary FRAMEWORK of a file, and import its code.

FRAMEWORK is read without running the file, so a command imports the framework only when it uses it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta
from packaging.requirements import InvalidRequirement, Requirement

from adapters.base import Adapter
from adapters.errors import first_line
from datasets.files import read_regular
from errors import BadInput, printable

GROUP = "irisbench.adapters"
"""Group of the entry points by which installed packages name the modules of their adapters."""

VARIABLE = "FRAMEWORK"
SEE = "see 'A new framework' in CONTRIBUTING.md"
LARGEST_BYTES = 2**20

Text = Annotated[str, Meta(min_length=1, max_length=100)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z", max_length=100)]
PluginName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*\Z", max_length=40)]
Colour = Annotated[str, Meta(pattern=r"^#[0-9A-Fa-f]{6}\Z")]
Triangle = Literal["triangle-up", "triangle-down", "triangle-left", "triangle-right"]
Mark = Literal["circle", "square", "cross", "diamond", "arrow", "wedge", Triangle]
ContractModel = Literal["logistic", "mlp"]


class Style(TypedDict):
    """Colour and mark of a framework in charts."""

    colour: Colour
    mark: Mark


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Expectations of the contract tests in `tests/contract.py`."""

    models: tuple[ContractModel, ...] = ("logistic", "mlp")
    floor: dict[ContractModel, float] = msgspec.field(default_factory=lambda: {"logistic": 0.970, "mlp": 0.970})
    """Required accuracy on unseen flowers after training on 10,000 flowers. The best possible accuracy is 0.983."""

    streams: tuple[ContractModel, ...] = ("logistic", "mlp")
    """Models that can be trained on tables that do not fit in memory."""

    has_blas: bool = True
    """Whether `build` names a BLAS."""

    not_reproducible: dict[ContractModel, str] = {}
    """Models that may differ for the same seed, with the reason."""


class Plugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of FRAMEWORK.

    `adapter` is the class, `modules` are the modules that it imports, and `requires` are the requirements for pip. The
    first requirement is the package whose version is reported. `format` is the file format of saved models.
    """

    name: PluginName
    adapter: Identifier
    modules: Annotated[tuple[Identifier, ...], Meta(min_length=1)]
    requires: Annotated[tuple[Text, ...], Meta(min_length=1)]
    format: Text
    distributed: Text = "none"
    device: Literal["cpu", "cuda"] = "cpu"
    java: bool = False
    style: Style | None = None
    contract: Contract = Contract()

    @property
    def distribution(self) -> str:
        return Requirement(self.requires[0]).name


def read(path: Path) -> Plugin:
    """Return the content of FRAMEWORK in a file without running it. Raise BadInput if it is missing or invalid."""
    try:
        tree = ast.parse(read_regular(path, LARGEST_BYTES), filename=str(path))
    except (SyntaxError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        problem = error.msg if isinstance(error, SyntaxError) else str(error)
        raise BadInput(f"{path}{line} is not Python ({problem}); correct it") from None
    value = _assigned(tree)
    if value is None:
        raise BadInput(f"{path} has no {VARIABLE}; add it: {SEE}")
    try:
        plugin = msgspec.convert(ast.literal_eval(value), Plugin)
        for requirement in plugin.requires:
            Requirement(requirement)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {VARIABLE} is wrong ({printable(str(error))}); correct it: {SEE}") from None
    except InvalidRequirement:
        raise BadInput(
            f"{path}: {VARIABLE} requires {requirement!r}; write it as pip takes it, such as numpy>=2"
        ) from None
    except (ValueError, TypeError, RecursionError):
        raise BadInput(
            f"{path}, line {value.lineno}: {VARIABLE} must be a dictionary of literal values, because it is read "
            "without running the file"
        ) from None
    return plugin


def _assigned(tree: ast.Module) -> ast.expr | None:
    """Return the last value that a module assigns to FRAMEWORK at its top level."""
    found: ast.expr | None = None
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets, value = [statement.target], statement.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == VARIABLE for target in targets):
            found = value
    return found


def create(file: Path, module: str | None, of_class: str, track: str) -> Adapter[Any, Any]:
    """Import the adapter in `file`, or in the installed `module`, and return a new one. Raise BadInput if it fails."""
    try:
        loaded = importlib.import_module(module) if module else _imported(file)
        adapter = getattr(loaded, of_class)(track)
    except (Exception, SystemExit) as error:
        fix = "correct it"
        if isinstance(error, ModuleNotFoundError):
            fix = f"install it, and name it in the modules of {VARIABLE}"
        raise BadInput(f"{file}{_line_in(file, error)} failed: {printable(first_line(error))}; {fix}") from None
    if not isinstance(adapter, Adapter):
        raise BadInput(f"{file}: {of_class} is not an Adapter; derive it from adapters.base.Adapter")
    return adapter


def _imported(file: Path) -> ModuleType:
    # A name that no other module has, even if one is named like the file.
    spec = importlib.util.spec_from_file_location(f"irisbench_adapter_{file.stem}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _line_in(file: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f", line {lines[-1]}," if lines else ""
