"""What the files of a run may hold: bounds for their numbers, and text that can be shown.

A run may have been received from somebody else, or been damaged: its values are checked here before they are used.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, NoReturn

from msgspec import Meta

LARGEST_NUMBER = 2**63
"""In absolute value. Charts, browsers and spreadsheets fail on larger ones."""
SMALLEST_NUMBER = 1e-100
"""In absolute value. Smaller ones are read as 0, because what is divided by them overflows."""
LONGEST_TEXT = 100_000
DEEPEST = 20
"""Levels of lists and dictionaries inside a value."""

# With `int` beside `float`, a 0 stays a 0, so that a report of the same records is the same bytes.
Seconds = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Difference = Annotated[int, Meta(ge=-(10**9), le=10**9)] | Annotated[float, Meta(ge=-1e9, le=1e9)]
"""Seconds by one clock less seconds by another: may be just below zero."""
Limit = Annotated[float, Meta(gt=0, le=1e9)]
"""Seconds."""
Bytes = Annotated[int, Meta(ge=0, lt=LARGEST_NUMBER - 1)]
Rows = Annotated[int, Meta(ge=1, le=10**12)]
Count = Annotated[int, Meta(ge=0, le=10**6)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
Megabytes = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
Loss = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
Excess = Annotated[int, Meta(ge=-(10**9), le=10**9)] | Annotated[float, Meta(ge=-1e9, le=1e9)]
"""A log-loss above a reference: negative below it."""
Name = Annotated[str, Meta(min_length=1, max_length=100)]


def parse(text: str) -> Any:
    """Return the value of a JSON text, in which every text can be shown.

    Raises
    ------
    ValueError
        It is not JSON, is nested too deeply, or holds a number or a text that is too large.
    """
    try:
        return _checked(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a number that can be computed with and drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER


def shown(text: str) -> str:
    """Return text without terminal escapes, and with a question mark for each character that cannot be shown."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else " " if letter.isspace() else "?" for letter in plain
    )


def _checked(value: Any, level: int = 0) -> Any:
    if level > DEEPEST:
        raise ValueError(f"it has more than {DEEPEST} levels of lists and dictionaries")
    match value:
        case str():
            if len(value) > LONGEST_TEXT:
                raise ValueError(f"a text has {len(value):,} characters; at most {LONGEST_TEXT:,} are read")
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
            raise ValueError(f"a whole number has {len(str(value))} digits")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")
