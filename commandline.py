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

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a command to end: Ctrl-C, `kill`, and the terminal being closed."""

WRONG_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENXIO, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG),
)
"""Errors of the operating system that the user corrects by naming another path."""

_first_signal = 0
_held = 0


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
    _occupy_closed_streams()
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
        for number in ENDING:  # nothing is left to clean up: end at once, without a traceback
            if signal.getsignal(number) is _end:
                signal.signal(number, signal.SIG_DFL)
    if _first_signal:
        sys.exit(128 + _first_signal)
    if message and sys.stderr:
        with suppress(OSError):
            print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def _run(app: typer.Typer, name: str) -> tuple[int, str | None]:
    """Run the command. Return its exit code and the message for the user, if there is one."""
    try:
        return app(prog_name=f"python -m {name}", standalone_mode=False) or 0, None
    except BadInput as error:
        return 2, str(error)
    except typer.TyperException as error:
        problem = " ".join(error.format_message().split()) or "Name a command."
        context = getattr(error, "ctx", None)
        return 2, f"{problem} See {context.command_path if context else f'python -m {name}'} --help"
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
    global _first_signal
    if _cleaning_up():
        return
    _first_signal = _first_signal or number
    logging.disable()  # libraries log what follows from the interruption
    if not _held:
        raise Ended(128 + number)


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


def _occupy_closed_streams() -> None:
    """Open the null device in place of closed standard streams: a file of ours would get their number otherwise."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


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
