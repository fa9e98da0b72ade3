"""The adapter files of a run: list them in its plan, and check that the run can use them now.

A run may come from another person, so a plan never makes a command import a file. To resume the run, the user names
the file again.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters import digest, exit_with_parent, registry
from benchmarks.validation import Name
from errors import BadInput, printable


@dataclass(frozen=True)
class AdapterFile:
    """The file that adds a framework to a run, and the digest of its code."""

    framework: Name
    path: str
    digest: str


def of(frameworks: Iterable[str]) -> tuple[AdapterFile, ...]:
    """Return the adapter files that the user has named for these frameworks."""
    rows = {name: registry.FRAMEWORKS[name] for name in frameworks}
    return tuple(AdapterFile(name, str(row.file), _digest(row.file)) for name, row in rows.items() if row.file)


def check(planned: Sequence[AdapterFile], frameworks: Iterable[str]) -> None:
    """Raise BadInput unless the user has named all planned files, none has changed, and all plug-ins can be created."""
    for file in planned:
        row = registry.FRAMEWORKS.get(file.framework)
        path = printable(shlex.quote(file.path))
        if row is None or row.file is None:
            raise BadInput(
                f"this run measures {printable(file.framework)} from {path}; if you trust that file, "
                f"name it again: --adapter {path}"
            )
        if _digest(row.file) != file.digest:
            raise BadInput(f"{row.file} has changed since this run began; restore the file, or start a new run")
    for name in frameworks:
        row = registry.FRAMEWORKS[name]
        if row.plugin and not row.missing():
            _try(name, row.file)


def _digest(file: Path) -> str:
    return digest.of_source(file.read_bytes())


def _try(name: str, file: Path | None) -> None:
    """Raise BadInput if a plug-in's adapter cannot be created. It runs in another process, to keep this one small."""
    arguments = [name, str(file)] if file else [name]
    done = exit_with_parent.run("adapters.try_plugin", arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BadInput(lines[-1] if lines else f"{file or name} failed with exit code {done.returncode}; correct it")
