"""What the four commands share: how a bad input is answered, and how sizes are written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import typer


class BadInput(ValueError):
    """What a user typed or handed in is wrong; the message says what, and what to do. Ends a command with code 2."""


def main(app: typer.Typer, name: str) -> NoReturn:
    """Runs a command line: bad input gives one line and exit code 2, Ctrl-C gives 130."""
    try:
        sys.exit(app(prog_name=f"python -m {name}", standalone_mode=False) or 0)
    except BadInput as error:
        message = str(error)
    except typer.TyperException as error:
        problem = " ".join(error.format_message().split()) or "Name a command."
        context = getattr(error, "ctx", None)
        message = f"{problem} See {context.command_path if context else f'python -m {name}'} --help"
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: {error.strerror}"
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def rows(text: str) -> int:
    """A number of rows as people write it: 150, 10_000, 10,000, 1e6."""
    try:
        number = float(text.replace(",", "").replace("_", ""))
        if number < 1 or number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no number of rows; write 150, 10_000 or 1e6.") from None
    return int(number)


def size(text: str) -> int:
    """Bytes as people write them: 8GiB, 512MiB, 2GB."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?\s*", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is no size of memory; write 512MiB or 8GiB.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** (" KMGT".index(match[2].upper())))


def percent(text: str) -> float:
    """A share as people write it: 10%, 2.5 %."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is no percentage; write 10%.")
    return float(match[1]) / 100


def one_of(what: str, names: Sequence[str]) -> Callable[[str], str]:
    """A parser for an option that takes one of `names`, and lists them when it gets another."""

    def parse(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"there is no {what} {text!r}; choose from {', '.join(names)}.")
        return text

    parse.__name__ = what.upper()
    return parse


def check_folder(folder: Path) -> None:
    """BadInput where `folder` cannot be a folder to write in, because a file stands there."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder to write in")
