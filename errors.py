"""Errors that a user can correct, and text that is safe to print. Every folder may import this module."""

from __future__ import annotations

import errno
import re

WRONG_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENXIO, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG),
)
"""Errors of the operating system that the user corrects by naming another path."""


class BadInput(ValueError):
    """Input of the user that is wrong. The message states the problem and the fix. A command exits with code 2."""


def printable(text: str) -> str:
    """Return text as one line without terminal escapes, because files and their names may contain any character."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in plain)
