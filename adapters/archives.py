"""Check the zip archives that skops, PyTorch and Keras save models in, before the framework reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from adapters.errors import ForeignModel

LARGEST_BYTES = 2**28
"""Limit of the unpacked size. A `deep` model with its optimizer has 30 MB."""

LARGEST_JSON_BYTES = 2**22


def check(path: Path, names: set[str] | None = None) -> None:
    """Raise ForeignModel unless `path` is a zip archive without duplicate names that unpacks to a plausible size.

    `names` are the names that the archive must contain, if given.
    """
    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, BadZipFile, ValueError, NotImplementedError):
        raise ForeignModel(f"{path.name} is missing or not a zip archive") from None
    found = {member.filename for member in members}
    if len(found) < len(members):
        raise ForeignModel(f"{path.name} contains two files of the same name")
    if names is not None and found != names:
        raise ForeignModel(f"{path.name} contains other files than {', '.join(sorted(names))}")
    if sum(member.file_size for member in members) > LARGEST_BYTES:
        raise ForeignModel(f"{path.name} unpacks to more than {LARGEST_BYTES:,} bytes")


def read_json(path: Path, name: str) -> Any:
    """Return the content of a JSON file in a checked archive. skops and Keras read it with the same module `json`."""
    try:
        with ZipFile(path) as archive:
            if archive.getinfo(name).file_size > LARGEST_JSON_BYTES:
                raise ForeignModel(f"{name} in {path.name} has more than {LARGEST_JSON_BYTES:,} bytes")
            return json.loads(archive.read(name))
    except (KeyError, OSError, BadZipFile, RecursionError, ValueError, NotImplementedError) as problem:
        if isinstance(problem, ForeignModel):
            raise
        raise ForeignModel(f"{path.name} contains no readable {name}") from None
