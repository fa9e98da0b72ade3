"""Prepare a command for what can go wrong while its imports run: Ctrl-C, and packages that are not installed."""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType


def prepare() -> None:
    """End quietly on Ctrl-C, and in one line on a missing package, until `commandline.main` takes over."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.excepthook = _report_missing_package


def _report_missing_package(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, ModuleNotFoundError):
        sys.__excepthook__(kind, error, trace)
        return
    print(
        f"error: the package {error.name} is not installed; type ./nox -s benchmark once, and in each terminal: "
        "source .nox/benchmark/bin/activate",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)
