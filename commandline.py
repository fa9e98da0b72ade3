"""What the four commands share: how bad input, failures and signals end them, and how sizes are written."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import typer

from machine import total_memory, usable_cores

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a command to end: Ctrl-C, `kill`, and the terminal being closed."""

WRONG_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENXIO, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG),
)
"""Errors of the operating system that the user corrects by naming another path."""

AGAIN_S = 1.0

_first_signal = 0
_held = 0

LARGEST_ROWS = 10**5 << 20
"""Rows of the largest dataset: 100,000 parts, as `datasets.store` numbers them, of 1,048,576 rows."""

SMALLEST_MEMORY_BYTES = 2**26
"""No framework starts in less."""


class BadInput(ValueError):
    """What a user typed or handed in is wrong; the message says what, and what to do. Ends a command with code 2."""


class Ended(SystemExit):
    """A signal asked the command to end; `code` is 128 + its number.

    It is not a KeyboardInterrupt, because scikit-learn's networks catch that one and return a model trained halfway.
    """


def main(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit with its code.

    Bad input gives one line and code 2. Any other error of the operating system, such as a full disk or a closed
    pipe, gives one line and code 1. Ctrl-C, SIGTERM and SIGHUP give 130, 143 and 129.
    """
    sys.excepthook = sys.__excepthook__  # the imports are done
    _reserve_standard_streams()
    end_on_signals()
    try:
        code, message = _run(app, name)
        if sys.stdout:
            sys.stdout.flush()  # here, because Python would report a full disk with a traceback at exit
    except OSError as error:
        code, message = 1, f"standard output: {error.strerror}"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer is lost
    except BaseException:
        if not _first_signal:  # errors that follow from an interruption are not reported
            raise
    finally:
        if _first_signal:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in ENDING:  # nothing is left to clean up: end at once, without a traceback
            if signal.getsignal(number) is _end:
                signal.signal(number, signal.SIG_DFL)
    if _first_signal:
        sys.exit(128 + _first_signal)
    if message and sys.stderr:
        with suppress(OSError):
            print(f"error: {printable(message)}", file=sys.stderr, flush=True)
    sys.exit(code)


def printable(text: str) -> str:
    """Return text as one line without terminal escapes: files and their names may hold anything."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in plain)


def _run(app: typer.Typer, name: str) -> tuple[int, str | None]:
    """Run the command. Return its exit code and the message for the user, if there is one."""
    try:
        return app(prog_name=f"python -m {name}", standalone_mode=False) or 0, None
    except BadInput as error:
        return 2, str(error)
    except typer.TyperException as error:
        problem = " ".join(error.format_message().split()) or "Name a command."
        context = getattr(error, "ctx", None)
        return 2, f"{problem.rstrip('.')}. See {context.command_path if context else f'python -m {name}'} --help"
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return 2 if where and error.errno in WRONG_PATH else 1, f"{where}{error.strerror or error}"
    except (typer.Abort, KeyboardInterrupt):
        return 130, None


def end_on_signals() -> None:
    """End the command with `Ended` on the first of the signals in `ENDING`; ignore later ones during clean-up.

    Call this again after code that installs its own handlers, such as PySpark's. Signals that are ignored, for
    example under nohup, stay ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    """Raise `Ended`, and again each second until it is on its way: Python drops what is raised in a `__del__`."""
    global _first_signal
    if number != signal.SIGALRM:
        _first_signal = _first_signal or number
        # Nobody wants to read what follows from the interruption.
        logging.disable()
        sys.unraisablehook = lambda _: None
        signal.signal(signal.SIGALRM, _end)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    if not _held and not _cleaning_up():
        raise Ended(128 + _first_signal)


def end_if_interrupted() -> None:
    """Raise `Ended` if a signal has asked the command to end."""
    if _first_signal:
        raise Ended(128 + _first_signal)


def _cleaning_up() -> bool:
    """Return whether an `Ended` is on its way up the stack, with `finally` and `except` blocks running."""
    error = sys.exception()
    while error is not None and not isinstance(error, Ended):
        error = error.__context__
    return error is not None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Postpone the signals in `ENDING` to the end of the block: for steps that must not be left half done."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if _first_signal and not _held and not _cleaning_up():
            raise Ended(128 + _first_signal)


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
        raise typer.BadParameter(f"{text!r} is not a number of rows; write 150, 10_000 or 1e6.") from None
    if number > LARGEST_ROWS:
        raise typer.BadParameter(f"{text!r} is too many rows; a dataset can store {LARGEST_ROWS:,}.")
    return int(number)


def size(text: str) -> int:
    """Return bytes as people write them: 8GiB, 512MiB, 2GB."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT])(i?)B?\s*", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is not an amount of memory; write 512MiB or 8GiB.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** (" KMGT".index(match[2].upper())))


def show_size(n_bytes: float) -> str:
    """Return bytes for people: 17 TB, 1.5 GB, 640 MB."""
    for unit, power in (("PB", 5), ("TB", 4), ("GB", 3), ("MB", 2)):
        if n_bytes >= 1000**power:
            number = n_bytes / 1000**power
            return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
    return f"{n_bytes / 1000:.0f} kB"


def check_resources(threads: int | None = None, memory_bytes: int | None = None) -> None:
    """Raise BadInput for more threads or memory than the machine has, or for too little memory."""
    if threads is not None and threads > usable_cores():
        raise BadInput(f"--threads {threads:,} needs {threads:,} cores, this process may use {usable_cores()}")
    if memory_bytes is None:
        return
    total = total_memory()
    if total is not None and memory_bytes > total:
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
        raise typer.BadParameter(f"{text!r} is not a percentage; write 10%.")
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
