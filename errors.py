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


def printable(text: str, keep: str = "") -> str:
    """Return text without terminal escapes and control characters, as one line unless `keep` contains a newline.

    Files and their names may contain any character. White space becomes a space, other characters a question mark.
    """
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(
        letter if letter.isprintable() or letter in keep else " " if letter.isspace() else "?" for letter in plain
    )
