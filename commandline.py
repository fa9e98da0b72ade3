"""What all commands share: the parsers of their options, and their exit codes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import typer

import interrupts
from datasets.sizes import LARGEST_ROWS, show_size
from errors import WRONG_PATH, BadInput, printable
from machine import SMALLEST_MEMORY_BYTES, total_memory, usable_cores


def main(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit with its code.

    Bad input gives one line and code 2. Any other error of the operating system, such as a full disk or a closed
    pipe, gives one line and code 1. Ctrl-C, SIGTERM and SIGHUP give 130, 143 and 129.
    """
    sys.excepthook = sys.__excepthook__  # the imports are done
    _reserve_standard_streams()
    interrupts.end_on_signals()
    try:
        code, message = _run(app, name)
        if sys.stdout:
            sys.stdout.flush()  # here, because Python would report a full disk with a traceback at exit
    except OSError as error:
        code, message = 1, f"standard output: {error.strerror}"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer is lost
    except BaseException:
        if not interrupts.exit_code():  # errors that follow from an interruption are not reported
            raise
    finally:
        interrupts.end_at_once_on_signals()
    if code_of_signal := interrupts.exit_code():
        sys.exit(code_of_signal)
    if message and sys.stderr:
        with suppress(OSError):
            print(f"error: {printable(message)}", file=sys.stderr, flush=True)
    sys.exit(code)


def _run(app: typer.Typer, name: str) -> tuple[int, str | None]:
    """Run the command. Return its exit code and an error message, or None."""
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


def _reserve_standard_streams() -> None:
    """Open /dev/null for closed standard streams, so that no other file gets their descriptors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Open it in the opposite mode, so that using it fails as for a closed stream.
            nothing = os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)


def rows(text: str) -> int:
    """Return a number of rows from text such as 150, 10_000, 10,000 or 1e6."""
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
    """Return a number of bytes from text such as 8GiB, 512MiB or 2GB."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT])(i?)B?\s*", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is not an amount of memory; write 512MiB or 8GiB.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** (" KMGT".index(match[2].upper())))


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
    """Return a share from text such as 10% or 2.5 %."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is not a percentage; write 10%.")
    return float(match[1]) / 100


def adapter_files(add: Callable[[Sequence[Path]], None]) -> typer.models.OptionInfo:
    """Return the option --adapter. `add` gets its files before other options are read, which may name what they add."""

    def added(paths: list[Path] | None) -> list[Path]:
        add(paths or [])
        return paths or []

    option: typer.models.OptionInfo = typer.Option(
        "--adapter",
        metavar="FILE.py",
        is_eager=True,
        callback=added,
        help="Add the framework of this file, whose code runs with your rights. May be repeated.",
    )
    return option


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """Return a parser for an option that accepts one of `names`, and lists them in its error."""

    def parse(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"there is no {what} {text!r}; choose from {', '.join(names)}.")
        return text

    parse.__name__ = what.upper()
    return parse
