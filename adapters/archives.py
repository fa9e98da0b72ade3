"""The zip archives in which skops, PyTorch and Keras save a model, checked before the framework reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from adapters.errors import ForeignModel

LARGEST_BYTES = 2**28
"""Unpacked, a `deep` model with its optimizer has 30 MB."""

LARGEST_JSON_BYTES = 2**22


def check(path: Path, names: set[str] | None = None) -> None:
    """ForeignModel unless `path` is a zip archive without duplicate names that unpacks to a plausible size.

    `names`: what the archive must hold, nothing else.
    """
    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, BadZipFile, ValueError, NotImplementedError):
        raise ForeignModel(f"{path.name} is missing or not a zip archive") from None
    found = {member.filename for member in members}
    if len(found) < len(members):
        raise ForeignModel(f"{path.name} holds two files of the same name")
    if names is not None and found != names:
        raise ForeignModel(f"{path.name} holds other files than {', '.join(sorted(names))}")
    if sum(member.file_size for member in members) > LARGEST_BYTES:
        raise ForeignModel(f"{path.name} unpacks to more than {LARGEST_BYTES:,} bytes")


def read_json(path: Path, name: str) -> Any:
    """Return a JSON file of a checked archive, as Python's own `json` reads it: skops and Keras use that too."""
    try:
        with ZipFile(path) as archive:
            if archive.getinfo(name).file_size > LARGEST_JSON_BYTES:
                raise ForeignModel(f"{name} in {path.name} has more than {LARGEST_JSON_BYTES:,} bytes")
            return json.loads(archive.read(name))
    except (KeyError, OSError, BadZipFile, RecursionError, ValueError, NotImplementedError) as problem:
        if isinstance(problem, ForeignModel):
            raise
        raise ForeignModel(f"{path.name} holds no readable {name}") from None
