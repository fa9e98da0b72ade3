"""Replace files as a whole, and read JSON files with a check of their types."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from errors import BadInput
from interrupts import uninterrupted

LARGEST_JSON_BYTES = 2**24
"""Limit for reading. The JSON files that irisbench writes are much smaller."""

Value = TypeVar("Value")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, and rename it to `path` when the block ends without an exception.

    The file has a random name and is always new, so another account cannot place a symbolic link there. It gets the
    mode of the file that it replaces.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    mode, replaces_own = 0o666, False
    with suppress(FileNotFoundError):
        old = path.lstat()
        if stat.S_ISREG(old.st_mode):
            mode, replaces_own = stat.S_IMODE(old.st_mode) & 0o777, old.st_uid == os.geteuid()
    descriptor = None
    try:
        with uninterrupted():
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode | stat.S_IWUSR)
        yield beside
        if replaces_own:  # ignores the umask, unlike the mode of os.open
            os.fchmod(descriptor, mode)
        beside.replace(path)
    finally:
        if descriptor is not None:
            os.close(descriptor)
            beside.unlink(missing_ok=True)


def replace_file(path: Path, write_to: Callable[[Path], object]) -> None:
    """Write a file beside `path` and rename it, so that no reader sees an incomplete file."""
    with replacing(path) as beside:
        write_to(beside)


def read_json(path: Path, kind: type[Value]) -> Value:
    """Return the content of a JSON file as a value of the type `kind`, usually a dataclass.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    BadInput
        The file is not regular, too large or not JSON, or its content does not have the type `kind`.
    """
    try:
        return msgspec.json.decode(read_regular(path, LARGEST_JSON_BYTES), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is damaged: {' '.join(str(error).split())}") from None


def write_json(path: Path, value: object) -> None:
    """Replace `path` by a JSON file with this value, for example a dataclass."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=1)
    replace_file(path, lambda beside: beside.write_bytes(text + b"\n"))


def read_regular(path: Path, largest_bytes: int) -> bytes:
    """Return the content of a regular file. Raise BadInput for other kinds of files, or above `largest_bytes`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO without a writer would block
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path} is not a regular file")
        if status.st_size > largest_bytes:
            raise BadInput(f"{path} has {status.st_size:,} bytes; files of at most {largest_bytes:,} bytes are read")
        return file.read()


def check_folder(folder: Path) -> None:
    """Raise BadInput if `folder` is a file, so that it cannot be a folder to write into."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder to write into")
