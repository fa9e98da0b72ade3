"""Write and verify model folders: model.json, which is the card, and the files of the framework in model/.

The card lists the SHA-256 of each file. The checksums protect against damage. An attacker can write a card with
matching checksums, so every adapter also checks the content of the files that it restores.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from adapters import registry
from adapters.base import MODELS, TRACKS, Adapter
from adapters.errors import exhausted_memory, first_line
from datasets.files import read_json, read_regular, write_json
from errors import BadInput

CARD = "model.json"
FILES = "model"
"""Name of the folder for the files of the framework."""

LARGEST_BYTES = 2**28
MOST_FILES = 10_000
"""Limits of a model. The models of irisbench have some megabytes in fewer than a hundred files."""

AGAIN = "train the model again with python -m adapters train --output another-folder"


@dataclass(frozen=True)
class File:
    """Size of a file, and its SHA-256 in hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Card:
    """Content of model.json: how the model was trained, and its files by their relative POSIX paths."""

    format: Literal["irisbench model 2"]
    framework: str
    version: str | None
    model: str
    track: str
    rows: int
    seed: int
    recipe: Any
    files: dict[str, File]


def write_card(folder: Path, framework: str, model: str, track: str, rows: int, seed: int, recipe: Any) -> None:
    """Write the card of the model whose files are in `folder`."""
    files = {name: _described((folder / FILES / name).read_bytes()) for name in sorted(_names_on_disk(folder / FILES))}
    version = registry.FRAMEWORKS[framework].version
    write_json(folder / CARD, Card("irisbench model 2", framework, version, model, track, rows, seed, recipe, files))


def read_card(folder: Path) -> Card:
    """Return the card of a model folder, and check the names in it. Raise BadInput if it is not a model folder."""
    try:
        card = read_json(folder / CARD, Card)
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{folder} is not a model folder: it has no {CARD}; create one with python -m adapters train"
        ) from None
    except BadInput as problem:
        if "missing required field `format`" in str(problem):
            raise BadInput(f"{folder} was saved by version 0.1.0, which this version cannot read; {AGAIN}") from None
        raise BadInput(f"{folder} is not a readable model folder ({problem}); {AGAIN}") from None
    for what, name, known in (
        ("framework", card.framework, tuple(registry.FRAMEWORKS)),
        ("model", card.model, MODELS),
        ("track", card.track, TRACKS),
    ):
        if name not in known:
            known_names = ", ".join(known)
            hint = ", or name the file of its adapter: --adapter FILE.py" if what == "framework" else ""
            raise BadInput(f"{folder / CARD}: there is no {what} {name!r}; this version knows {known_names}{hint}")
    _check_names(card, folder)
    return card


def _check_names(card: Card, folder: Path) -> None:
    """Raise BadInput unless all names are relative paths inside the folder that differ on every file system."""
    seen: dict[str, str] = {}
    for name in card.files:
        path = PurePosixPath(name)
        if "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
            raise BadInput(f"{folder / CARD} lists {name!r}, which is not a relative path; {AGAIN}")
        # Some file systems ignore case or normalise Unicode.
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise BadInput(f"{folder / CARD} lists {other!r} and {name!r}, whose names clash; {AGAIN}")


def check_listed(folder: Path) -> Card:
    """Return the card of a model folder. Raise BadInput unless the folder contains exactly the files on the card."""
    card = read_card(folder)
    for entry in os.scandir(folder):
        if entry.name not in (CARD, FILES):
            raise BadInput(f"{folder / entry.name} is not part of the model; move it elsewhere")
        if entry.is_symlink():
            raise BadInput(f"{folder / entry.name} is a symbolic link; {AGAIN}")
    on_disk = _names_on_disk(folder / FILES) if (folder / FILES).is_dir() else set()
    if unlisted := sorted(on_disk - card.files.keys()):
        raise BadInput(f"{folder / FILES / unlisted[0]} is not listed in {CARD}; remove it from the model folder")
    if missing := sorted(card.files.keys() - on_disk):
        raise BadInput(f"{folder / FILES / missing[0]} is listed in {CARD} but missing; {AGAIN}")
    return card


def check_replaceable(folder: Path) -> None:
    """Raise BadInput unless `folder` is missing, empty, or a model folder without other files."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        check_listed(folder)
    except BadInput as problem:
        reason = str(problem).partition(";")[0]
        raise BadInput(f"{folder} is in use: {reason}; name a new or empty folder") from None


def read_verified(folder: Path) -> tuple[Card, dict[str, bytes]]:
    """Return the card and the content of all files of a model. Raise BadInput if a file differs from the card.

    `restore` makes a private copy of this content for the framework. It is therefore harmless if another program
    replaces a file after the check.
    """
    card = check_listed(folder)
    size = sum(listed.bytes for listed in card.files.values())
    if size > LARGEST_BYTES:
        raise BadInput(f"{folder} lists files of {size:,} bytes, more than the limit of {LARGEST_BYTES:,}; {AGAIN}")
    contents = {}
    for name, listed in card.files.items():
        contents[name] = read_regular(folder / FILES / name, LARGEST_BYTES)
        if _described(contents[name]) != listed:
            raise BadInput(f"{folder / FILES / name} is damaged: its SHA-256 differs from {CARD}; {AGAIN}")
    return card, contents


def restore(adapter: Adapter[Any, Any], source: Path, card: Card, contents: dict[str, bytes], folder: Path) -> Any:
    """Restore the model in the model folder `source`. Raise BadInput if the adapter cannot have written it.

    `contents` are its verified files. They are written to the new private folder `folder`, and restored from there.
    """
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    try:
        with warnings.catch_warnings(action="ignore"):
            restored = adapter.restore(folder)
            model = adapter.name_of(restored)
    except Exception as problem:
        if exhausted_memory(problem, adapter.log):
            raise
        raise BadInput(
            f"{source} contains a model that {card.framework} cannot read ({first_line(problem)}); {AGAIN}"
        ) from None
    if model not in (None, card.model):
        raise BadInput(f"{source / CARD} says {card.model}, but the files contain {model}; {AGAIN}")
    return restored


def _described(content: bytes) -> File:
    """Return the entry of a file on the card."""
    return File(len(content), hashlib.sha256(content).hexdigest())


def _names_on_disk(folder: Path) -> set[str]:
    """Return the relative POSIX paths of all files below `folder`. Raise BadInput for a link, a FIFO or a device."""
    names: set[str] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        for entry in os.scandir(current):
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                names.add(Path(entry.path).relative_to(folder).as_posix())
            else:
                raise BadInput(f"{entry.path} is a link, a FIFO or a device; {AGAIN}")
            if len(names) + len(pending) > MOST_FILES:
                raise BadInput(f"{folder} has more than {MOST_FILES:,} files; {AGAIN}")
    return names
