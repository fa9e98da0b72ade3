"""Files that are complete or absent, and JSON files that are checked as they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from commandline import BadInput

LARGEST_JSON_BYTES = 2**24
"""No JSON file of ours comes near this size."""

Value = TypeVar("Value")


def replace_file(path: Path, write_to: Callable[[Path], object]) -> None:
    """Write a file beside `path` and rename it, so that no reader ever sees half a file under its name."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_to(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_json(path: Path, kind: type[Value]) -> Value:
    """Return the content of a JSON file as a value of type `kind`, usually a dataclass.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    BadInput
        It is not a regular file, is too large, is not JSON, or a value has another type than `kind` says.
    """
    try:
        return msgspec.json.decode(read_regular(path, LARGEST_JSON_BYTES), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is damaged: {' '.join(str(error).split())}") from None


def write_json(path: Path, value: object) -> None:
    """Write a dataclass, or any other value of JSON, in place of `path`."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=1)
    replace_file(path, lambda beside: beside.write_bytes(text + b"\n"))


def read_regular(path: Path, largest_bytes: int) -> bytes:
    """Return the content of a regular file. BadInput for a FIFO, a device, a folder, or more than `largest_bytes`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO without a writer would block
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path} is not a regular file")
        if status.st_size > largest_bytes:
            raise BadInput(f"{path} has {status.st_size:,} bytes; at most {largest_bytes:,} are read")
        return file.read()
