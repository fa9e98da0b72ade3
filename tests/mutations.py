"""Damaged copies of files: changed bytes and replaced JSON values. The same seed gives the same damage."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

DEEP = "[" * 100_000
VALUES = [
    *(None, True, False, 0, -0.0, -1, 1, 3, 2**31, 2**53, 2**63, 2**64, 2**70, 10**400, 1e-320, 1e-9, 1e18, 1e300),
    *(1e308, -1e308, "", "ok", "failed", "1e5", "..", "../../x", "a/b", "\0", "\x1b]0;title\x07\x1b[31m", "\ud800"),
    *("[red]x[/red]", "\u202egnp", "\n\n# heading", "x" * 100, "x" * 1_000_000, "</script>", "2026-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", [], [[]], [1], ["x"], [None], {}, {"": {}}, {"a": [1]}),
    *([0.0] * 5, [1e9] * 5, [1e-300, 1e9], [2**70], list(range(2_000))),
]
TEXTS = ["NaN", "-Infinity", "1e309", "-0", "1" * 6_000, DEEP, '{"a":' * 3_000 + "1" + "}" * 3_000]
"""JSON text that Python's json module does not write."""
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
TABLE_BYTES = [
    *(b"\r", b"\r\n", b"\n\n", b'"', b'""', b",", b";", b"\t", b"\0"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"nan", b"1e999"),
]
"""Bytes that often break readers of tables."""

CELLS = [
    *(b"", b"nan", b"NA", b"null", b"inf", b"-1", b"0", b"5", b"5.1", b"5,1", b'"5.1"', b'"5,1"', b" 5.1 ", b"5.1cm"),
    *(b"1e5", b"1e-400", b"1e400", b"0x10", b"1_0", b"+5.1", b".5", b"5.", b"\xd9\xa5", b"true", b"2", b"9" * 400),
    *(b"setosa", b"Iris-virginica", b"VERSICOLOR", b"tulip", b"sepal_length", b"id", b"x" * 1_000, b'"two\nlines"'),
    *(b"\x1b[31m", b"\xe9", b"[red]x[/]", b"[/]", b"=1+1", b"\xe2\x80\xaegnp"),
]
FLOATS = [0.0, -1.0, 101.0, 1e30, 1e38, 3.5e38, 1e308, 1e-300, math.nan, math.inf, -math.inf, -0.0]


def with_other_bytes(content: bytes, random_: random.Random) -> bytes:
    """Return a damaged copy of any file: bytes are flipped, removed, doubled, cut off, or replaced."""
    data = bytearray(content)
    for _ in range(random_.choice((1, 1, 3, 10))):
        at = random_.randrange(len(data) + 1)
        end = at + random_.choice((1, 4, 64))
        kinds: list[Callable[[], bytes]] = [
            lambda: random_.randbytes(4),
            lambda: b"",
            lambda at=at, end=end: bytes(data[at:end]) * 2,
            lambda: random_.choice(TABLE_BYTES),
        ]
        data[at:end] = random_.choice(kinds)()
        if random_.random() < 0.05:
            del data[at:]
    return bytes(data)


def with_another_cell(text: bytes, random_: random.Random) -> bytes:
    """Return a copy of a CSV text in which one or a few cells have another content."""
    changed = text
    for _ in range(random_.choice((1, 1, 1, 3))):
        cells = list(re.finditer(rb"[^,;\t\r\n]+", changed))
        cell = random_.choice(cells)
        changed = changed[: cell.start()] + random_.choice(CELLS) + changed[cell.end() :]
    return changed


def with_another_column(table: pa.Table, random_: random.Random) -> pa.Table:
    """Return a copy of a table with one column changed in type, name, value or position, duplicated, or removed."""
    number = random_.randrange(table.num_columns)
    name, column = table.column_names[number], table.column(number)
    how = random_.choice(["type", "type", "value", "value", "name", "twice", "remove", "order"])
    if how == "remove":
        return table.remove_column(number)
    if how == "order":
        return table.select(random_.sample(range(table.num_columns), table.num_columns))
    if how == "twice":
        return table.append_column(name, column)
    if how == "name":
        other = random_.choice(
            [name.upper(), f" {name}", name.replace("_", "."), "", "\x1b[31m", "é", *table.column_names]
        )
        return table.rename_columns([*table.column_names[:number], other, *table.column_names[number + 1 :]])
    values = column.to_pylist()
    if how == "value" and isinstance(values[0], float | str):
        odd = ["tulip", "", "Setosa", "Iris-virginica", "[/]"] if isinstance(values[0], str) else FLOATS
        values[random_.randrange(len(values))] = random_.choice([None, *odd])
        return table.set_column(number, name, pa.array(values, column.type))
    numbers, texts = range(len(values)), list(map(str, values))
    kinds = [
        lambda: pa.array(texts),
        lambda: pa.array(texts, pa.large_string()),
        lambda: pa.array(texts).dictionary_encode(),
        lambda: pa.array([text.encode() for text in texts]),
        lambda: pa.array([[number] for number in numbers]),
        lambda: pa.array([{"a": number} for number in numbers]),
        lambda: pa.array([number % 3 for number in numbers], random_.choice([pa.int8(), pa.uint64()])),
        lambda: pa.array([number % 2 == 0 for number in numbers]),
        lambda: pa.array(numbers, random_.choice([pa.timestamp("us"), pa.date32(), pa.float16(), pa.float32()])),
        lambda: pa.nulls(len(values)),
    ]
    return table.set_column(number, name, random_.choice(kinds)())


def damaged(text: str, random_: random.Random) -> bytes:
    """Return a damaged copy of JSON text or JSON lines."""
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
    """Yield every place in a value that can hold another value, but only the first two of a list."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in list(inside):
        yield value, key
        yield from _places(inner)
