"""Bounds for the values in the files of a run, which may have been received from others or damaged.

Every value is checked here before it is used: numbers have limits, and text contains only printable characters.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, NoReturn

from msgspec import Meta

from errors import printable

LARGEST_NUMBER = 2**63
"""Limit of the absolute value. Charts, browsers and spreadsheets fail on larger numbers."""
SMALLEST_NUMBER = 1e-100
"""Smaller absolute values are read as 0, because a division by them overflows."""
LONGEST_TEXT = 100_000
DEEPEST = 20
"""Limit for nested lists and dictionaries."""

# `int` beside `float` keeps 0 as 0, so that a report of the same records has the same bytes.
Seconds = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Difference = Annotated[int, Meta(ge=-(10**9), le=10**9)] | Annotated[float, Meta(ge=-1e9, le=1e9)]
"""The difference between two clocks in seconds, which may be slightly negative."""
Limit = Annotated[float, Meta(gt=0, le=1e9)]
"""A limit in seconds."""
Bytes = Annotated[int, Meta(ge=0, lt=LARGEST_NUMBER - 1)]
Rows = Annotated[int, Meta(ge=1, le=10**12)]
Count = Annotated[int, Meta(ge=0, le=10**6)]
Total = Annotated[int, Meta(ge=0, le=10**15)]
"""A counter of the kernel."""
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
Megabytes = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
Loss = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Load = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Excess = Annotated[int, Meta(ge=-(10**9), le=10**9)] | Annotated[float, Meta(ge=-1e9, le=1e9)]
"""A log-loss minus its reference."""
Name = Annotated[str, Meta(min_length=1, max_length=100)]


def parse(text: str) -> Any:
    """Return the value of a JSON text, with all strings made printable.

    Raises
    ------
    ValueError
        The text is not JSON, is nested too deeply, or contains a number or a string that is too large.
    """
    try:
        return _checked(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number that arithmetic and charts can use."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER


def shown(text: str) -> str:
    """Return printable text that may have several lines."""
    return printable(text, keep="\n\t")


def _checked(value: Any, level: int = 0) -> Any:
    if level > DEEPEST:
        raise ValueError(f"it has more than {DEEPEST} levels of lists and dictionaries")
    match value:
        case str():
            if len(value) > LONGEST_TEXT:
                raise ValueError(f"a string has {len(value):,} characters; at most {LONGEST_TEXT:,} are read")
            return shown(value)
        case dict():
            return {_checked(name): _checked(inner, level + 1) for name, inner in value.items()}
        case list():
            return [_checked(inner, level + 1) for inner in value]
        case float() if not math.isfinite(value):
            raise ValueError("a number is too large")
        case float() if abs(value) < SMALLEST_NUMBER:
            return 0.0
        case int() if abs(value) >= LARGEST_NUMBER:
            raise ValueError(f"an integer has {len(str(value))} digits")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")
