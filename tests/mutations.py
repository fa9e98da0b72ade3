"""Damaged copies of a file of JSON: bytes that are changed, and values that are exchanged. The same for a seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

DEEP = "[" * 100_000
VALUES = [
    *(None, True, False, 0, -0.0, -1, 1, 3, 2**31, 2**53, 2**63, 2**64, 2**70, 10**400, 1e-320, 1e-9, 1e18, 1e300),
    *(1e308, -1e308, "", "ok", "failed", "1e5", "..", "../../x", "a/b", "\0", "\x1b]0;title\x07\x1b[31m", "\ud800"),
    *("[red]x[/red]", "\u202egnp", "\n\n# heading", "x" * 100, "x" * 1_000_000, "</script>", "2026-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", [], [[]], [1], ["x"], [None], {}, {"": {}}, {"a": [1]}),
    *([0.0] * 5, [1e9] * 5, [1e-300, 1e9], [2**70], list(range(2_000))),
]
TEXTS = ["NaN", "-Infinity", "1e309", "-0", "1" * 6_000, DEEP, '{"a":' * 3_000 + "1" + "}" * 3_000]
"""What Python's writer of JSON would not write."""
BYTES = [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\r",
    b"\n",
    b"[",
    b"}",
    b'"',
    b"\\",
    b"9" * 400,
    b"",
]


def damaged(text: str, random_: random.Random) -> bytes:
    """Return a damaged copy of a text whose lines are JSON, or that is JSON as a whole."""
    kind = random_.choice(["value", "value", "value", "value", "bytes", "lines", "file"])
    if kind == "bytes":
        data = bytearray(text.encode())
        for _ in range(random_.choice([1, 1, 3, 30])):
            at = random_.randrange(len(data) + 1)
            data[at : at + random_.choice([0, 1, 1, 20])] = random_.choice(BYTES)
        return bytes(data)
    lines = text.splitlines() if text.count("\n") and text.startswith('{"') else [text]
    number = random_.randrange(len(lines))
    if kind == "value":
        for number in random_.sample(range(len(lines)), min(random_.choice([1, 1, 2, len(lines)]), len(lines))):
            lines[number] = _with_another_value(lines[number], random_)
    elif kind == "lines":
        lines.insert(number, random_.choice([*lines, "", "[]", "{}", "null", "7", DEEP, "{" * 5_000]))
    else:
        data = text.encode()
        return random_.choice(
            [
                b"\xef\xbb\xbf" + data,
                data.replace(b"\n", b"\r\n"),
                data[: random_.randrange(len(data))],
                data * 2,
                b"\n",
                b"",
                text.encode("utf-16"),
                data.rstrip(),
                data + b'{"torn": ',
            ]
        )
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _with_another_value(line: str, random_: random.Random) -> str:
    value = json.loads(line)
    place, key = random_.choice(list(_places(value)))
    action = random_.choice(["exchange", "exchange", "exchange", "text", "remove", "move", "add"])
    if action == "remove":
        del place[key]
    elif action == "add":
        place[key] = {"another": place[key], "values": random_.choice(VALUES)}
    elif action == "move":
        there, other = random_.choice(list(_places(value)))
        place[key] = copy.deepcopy(there[other])
    elif action == "text":
        place[key] = "@@@"
        return json.dumps(value).replace('"@@@"', random_.choice(TEXTS))
    else:
        place[key] = random_.choice(VALUES)
    return json.dumps(value)


def _places(value: Any) -> Any:
    """Every place in a value where another could stand; of a long list, only the first two."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in list(inside):
        yield value, key
        yield from _places(inner)
