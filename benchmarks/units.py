"""Numbers as text for people: seconds, durations, bytes, rows, shares."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal


def significant(value: float, digits: int) -> str:
    """Return a number with this many significant digits, but with all digits before the decimal point."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(value)))
    # A half is rounded up, as in browsers.
    text = f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):,}"
    return text.rstrip("0").rstrip(".") if decimals else text


def show_seconds(value: float, digits: int = 2) -> str:
    """Return seconds as text such as 1.2 s, 45 ms or 17 µs."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 0.9995 or not value:
            return f"{significant(value * factor, digits)} {unit}"
    return f"{significant(value * 1e9, digits)} ns"


def show_duration(seconds: float) -> str:
    """Return a duration as text such as 45 s, 7 min or 2.5 h."""
    if seconds < 1:
        return show_seconds(seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_memory(value: float) -> str:
    """Return bytes as text such as 3.4 GiB or 512 MiB."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if value >= 1024**power:
            return f"{significant(value / 1024**power, 2)} {unit}"
    return f"{significant(value, 2)} B"


def show_rows(value: int) -> str:
    """Return a number of rows as text such as 150, 10,000 or 10 M."""
    return f"{significant(value / 1e6, 4)} M" if 1_000_000 <= value < 1e10 else f"{value:,}"


def show_threads(number: int) -> str:
    """Return "1 thread" or "2 threads"."""
    return f"{number} thread{'s' * (number != 1)}"


def show_share(value: float, digits: int = 4) -> str:
    """Return an accuracy as text such as 0.9817."""
    return significant(value, digits)


def show_throughput(value: float) -> str:
    """Return rows per second as text such as 3.2 M rows/s or 45,000 rows/s."""
    rounded = float(f"{value:.2g}")
    return f"{significant(rounded / 1e6, 2)} M rows/s" if rounded >= 1e6 else f"{significant(rounded, 2)} rows/s"
