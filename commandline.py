"""What the four commands share: how a bad input is answered, and how sizes are written."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import typer

LARGEST_ROWS = 10**5 << 20
"""Rows of the largest dataset: 100,000 parts, as `datasets.store` numbers them, of 1,048,576 rows."""

SMALLEST_MEMORY_BYTES = 2**26
"""No framework starts in less."""


class BadInput(ValueError):
    """What a user typed or handed in is wrong; the message says what, and what to do. Ends a command with code 2."""


def main(app: typer.Typer, name: str) -> NoReturn:
    """Runs a command line: bad input gives one line and exit code 2, Ctrl-C gives 130."""
    _reserve_standard_streams()
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


def _reserve_standard_streams() -> None:
    """Open /dev/null in place of standard streams that are closed, so that no other file is given their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Opened the wrong way round: reading or writing fails, as it does for a closed stream.
            nothing = os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)


def rows(text: str) -> int:
    """Return a number of rows as people write it: 150, 10_000, 10,000, 1e6."""
    try:
        number = float(text.replace(",", "").replace("_", ""))
        if number < 1 or number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no number of rows; write 150, 10_000 or 1e6.") from None
    if number > LARGEST_ROWS:
        raise typer.BadParameter(f"{text!r} is too many rows; a dataset can store {LARGEST_ROWS:,}.")
    return int(number)


def size(text: str) -> int:
    """Return bytes as people write them: 8GiB, 512MiB, 2GB."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT])(i?)B?\s*", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is no size of memory; write 512MiB or 8GiB.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** (" KMGT".index(match[2].upper())))


def show_size(n_bytes: float) -> str:
    """Return bytes for people: 17 TB, 1.5 GB, 640 MB."""
    for unit, power in (("PB", 5), ("TB", 4), ("GB", 3), ("MB", 2)):
        if n_bytes >= 1000**power:
            number = n_bytes / 1000**power
            return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
    return f"{n_bytes / 1000:.0f} kB"


def usable_cores() -> int:
    """Return the number of cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_resources(threads: int | None = None, memory_bytes: int | None = None) -> None:
    """Raise BadInput for more threads or memory than the machine has, or for too little memory."""
    if threads is not None and threads > usable_cores():
        raise BadInput(f"--threads {threads:,} needs {threads:,} cores, this process may use {usable_cores()}")
    if memory_bytes is None:
        return
    import psutil  # here, since a case does not need it

    total = psutil.virtual_memory().total
    if memory_bytes > total:
        raise BadInput(f"the memory limit needs {show_size(memory_bytes)}, the machine has {show_size(total)}")
    if memory_bytes < SMALLEST_MEMORY_BYTES:
        raise BadInput(
            f"the memory limit is {show_size(memory_bytes)}, and no framework starts in less than "
            f"{show_size(SMALLEST_MEMORY_BYTES)}; write 640MiB or more"
        )


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
