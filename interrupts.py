"""Ctrl-C, SIGTERM and SIGHUP: how they end a command, and how a block postpones them."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a command to end: Ctrl-C, `kill`, and the terminal being closed."""

REPEAT_S = 1.0
"""Seconds until `Ended` is raised again if Python dropped it."""

_first_signal = 0
_postponing = 0
"""The number of `uninterrupted` blocks that are running."""


class Ended(SystemExit):
    """A signal asked the command to end; `code` is 128 + its number.

    It is not a KeyboardInterrupt, because scikit-learn's networks catch that one and return a model trained halfway.
    """


def end_on_signals() -> None:
    """End the command with `Ended` on the first of the signals in `ENDING`; ignore later ones during clean-up.

    Call this again after code that installs its own handlers, such as PySpark's. Signals that are ignored, for
    example under nohup, stay ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def end_at_once_on_signals() -> None:
    """Let the signals in `ENDING` end the process without a traceback. Call this when nothing is left to clean up."""
    if _first_signal:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number in ENDING:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


def exit_code() -> int:
    """Return 128 + the number of the first signal that asked the command to end, or 0 if none did."""
    return 128 + _first_signal if _first_signal else 0


def end_if_interrupted() -> None:
    """Raise `Ended` if a signal has asked the command to end."""
    if _first_signal:
        raise Ended(exit_code())


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Postpone the signals in `ENDING` to the end of the block, for steps that must not be interrupted halfway.

    This takes effect in commands, which call `end_on_signals`.
    """
    global _postponing
    _postponing += 1
    try:
        yield
    finally:
        _postponing -= 1
        if _first_signal and not _postponing and not _cleaning_up():
            raise Ended(exit_code())


def _end(number: int, _: object) -> None:
    """Raise `Ended`, and again each second until it propagates: Python drops what is raised in a `__del__`."""
    global _first_signal
    if number != signal.SIGALRM:
        _first_signal = _first_signal or number
        # Errors that follow from the interruption are not reported.
        logging.disable()
        sys.unraisablehook = lambda _: None
        signal.signal(signal.SIGALRM, _end)
        signal.setitimer(signal.ITIMER_REAL, REPEAT_S, REPEAT_S)
    if not _postponing and not _cleaning_up():
        raise Ended(exit_code())


def _cleaning_up() -> bool:
    """Return whether an `Ended` is propagating, that is, whether `finally` and `except` blocks are running."""
    error = sys.exception()
    while error is not None and not isinstance(error, Ended):
        error = error.__context__
    return error is not None
