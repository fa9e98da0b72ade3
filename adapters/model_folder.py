"""Model folders: model.json, the card, and beneath model/ the files that the framework wrote, each with its SHA-256.

The checksums protect against damage. They do not protect against an attacker, who can write a card with matching
checksums: every adapter checks what it restores as well.
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
"""The folder beneath a model folder for the framework's own files."""

LARGEST_BYTES = 2**28
MOST_FILES = 10_000
"""Models of ours have some megabytes, in fewer than a hundred files."""

AGAIN = "train the model again with python -m adapters train --output another-folder"


@dataclass(frozen=True)
class File:
    """Size and SHA-256 of a file, in hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Card:
    """What model.json says of a model: how it was made, and its files by their relative POSIX path."""

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
    """Write the card of the model whose files are beneath `folder`."""
    files = {name: _described((folder / FILES / name).read_bytes()) for name in sorted(_names_on_disk(folder / FILES))}
    version = registry.FRAMEWORKS[framework].version
    write_json(folder / CARD, Card("irisbench model 2", framework, version, model, track, rows, seed, recipe, files))


def read_card(folder: Path) -> Card:
    """Return the card of a model folder, with the names of its files checked. BadInput if it is no model folder."""
    try:
        card = read_json(folder / CARD, Card)
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{folder} is not a model folder: it has no {CARD}; make one with python -m adapters train"
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
    """BadInput unless all names are relative POSIX paths that stay in the folder and differ on every file system."""
    seen: dict[str, str] = {}
    for name in card.files:
        path = PurePosixPath(name)
        if "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
            raise BadInput(f"{folder / CARD} lists {name!r}, which is not a relative path; {AGAIN}")
        # Some file systems hold these for the same name.
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise BadInput(f"{folder / CARD} lists {other!r} and {name!r}, whose names clash; {AGAIN}")


def check_listed(folder: Path) -> Card:
    """Return the card of a model folder that holds the files of its card and no other. BadInput names another file."""
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
    """BadInput unless `folder` is missing, an empty folder, or a model of ours without any file of somebody else's."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        check_listed(folder)
    except BadInput as problem:
        reason = str(problem).partition(";")[0]
        raise BadInput(f"{folder} is in use: {reason}; name a new or empty folder") from None


def read_verified(folder: Path) -> tuple[Card, dict[str, bytes]]:
    """Return the card and the content of all files of a model. BadInput unless each is what the card lists.

    A framework restores from a private copy that `restore` makes of this content. A file that somebody exchanges
    after the check does no harm then.
    """
    card = check_listed(folder)
    size = sum(listed.bytes for listed in card.files.values())
    if size > LARGEST_BYTES:
        raise BadInput(f"{folder} lists files of {size:,} bytes; no model has more than {LARGEST_BYTES:,}")
    contents = {}
    for name, listed in card.files.items():
        contents[name] = read_regular(folder / FILES / name, LARGEST_BYTES)
        if _described(contents[name]) != listed:
            raise BadInput(f"{folder / FILES / name} is damaged: its SHA-256 differs from {CARD}; {AGAIN}")
    return card, contents


def restore(adapter: Adapter, source: Path, card: Card, contents: dict[str, bytes], folder: Path) -> Any:
    """Restore the model of the model folder `source`. BadInput if no training here made it.

    `contents` are its verified files; they are written to `folder`, which is new and private, and read there.
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
            f"{source} holds a model that {card.framework} cannot read ({first_line(problem)}); {AGAIN}"
        ) from None
    if model not in (None, card.model):
        raise BadInput(f"{source / CARD} says {card.model}, but the files hold {model}; {AGAIN}")
    return restored


def _described(content: bytes) -> File:
    return File(len(content), hashlib.sha256(content).hexdigest())


def _names_on_disk(folder: Path) -> set[str]:
    """Return the relative POSIX paths of all files beneath `folder`. BadInput for a link, a FIFO or a device."""
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
                raise BadInput(f"{entry.path} is a link, a FIFO or a device; a model has regular files only")
            if len(names) + len(pending) > MOST_FILES:
                raise BadInput(f"{folder} has more than {MOST_FILES:,} files, which no model has")
    return names
