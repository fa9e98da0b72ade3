"""The adapter files of a run: what its plan says of them, and whether a run can use them now.

A run may have been received. So no plan makes a command import a file: the user names it again to resume the run.
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
    """BadInput unless the user has named all planned files, none has changed, and all plug-ins can be made."""
    for file in planned:
        row = registry.FRAMEWORKS.get(file.framework)
        path = printable(shlex.quote(file.path))
        if row is None or row.file is None:
            raise BadInput(
                f"this run measures {printable(file.framework)}, which {path} adds; if you trust that file, name it "
                f"again: --adapter {path}"
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
    """BadInput if the adapter of a plug-in cannot be made. Its code runs in another process: this one stays small."""
    words = [name, str(file)] if file else [name]
    done = exit_with_parent.run("adapters.try_plugin", words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BadInput(lines[-1] if lines else f"{file or name} ended with exit code {done.returncode}; correct it")
