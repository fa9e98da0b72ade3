"""Read CSV files in all common forms of the iris data.

Files may be compressed with gzip. The delimiter is a comma, a semicolon or a tab; lines end with LF, CR LF or CR. A
file may begin with a byte order mark. It needs no header if its columns are in the order of UCI's iris.data.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv

from datasets.flowers import FEATURES, SPECIES, class_label
from errors import BadInput

BLOCK_BYTES = 2**20
"""Bytes of CSV that are parsed at a time, about 50,000 flowers. No line may be longer.

Arrow reads up to 32 blocks ahead, even with `use_threads=False`, so larger blocks would take much more memory.
"""

HEADER_BYTES = 2**20
"""Bytes of the longest first line."""

DELIMITERS = (",", ";", "\t")
NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Delimited:
    """An open CSV file: the names of its columns, and its content after the header."""

    names: list[str]
    delimiter: str
    body: _Body

    def batches(self, columns: list[int]) -> Iterator[pa.RecordBatch]:
        """Yield batches of the columns with these numbers as text, in the order of `columns`.

        Other columns are not converted, so they may contain any text.
        """
        if self.body.is_empty():
            return
        names = [str(number) for number in range(len(self.names))]  # unique, unlike the names in the header
        selected = [names[number] for number in columns]
        yield from pa.csv.open_csv(
            self.body,
            read_options=pa.csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=self.delimiter),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(selected, pa.string()), include_columns=selected, strings_can_be_null=False
            ),
        )


def open_delimited(path: Path, file: BinaryIO) -> Delimited:
    """Read the first line of a CSV file. `file` need not be seekable; `path` is its name in error messages."""
    start = _read(file, 2)
    body = _Body(start, file)
    if start == b"\x1f\x8b":
        body = _Body(b"", cast(BinaryIO, gzip.GzipFile(fileobj=io.BufferedReader(body), mode="rb")))
    line, end_of_line = body.first_line(path)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
    if not text.strip():
        raise BadInput(f"{path} is empty; its first line must name the columns: {','.join(FEATURES)}")

    fields = {}
    for delimiter in DELIMITERS:
        try:
            fields[delimiter] = next(csv.reader([text], delimiter=delimiter))
        except csv.Error as error:
            raise BadInput(f"{path}, line 1 cannot be read: {error}; save the file as CSV again") from None
    for delimiter, names in fields.items():
        if _is_data(names):
            body.put_back(text.encode() + end_of_line)
            return Delimited([*FEATURES, "species"], delimiter, body)
        if _is_scikit_learn(names):
            return Delimited([*FEATURES, "species"], delimiter, body)
        numbers = sum(bool(NUMBER.fullmatch(name)) for name in names)
        if numbers >= len(FEATURES) and 2 * numbers > len(names):
            header = delimiter.join([*FEATURES, "species"][: len(names)])
            others = ", with a name for every other column" if len(names) > len(FEATURES) + 1 else ""
            raise BadInput(f"{path} has no header; add this first line: {header}{others}")
    delimiter, names = max(fields.items(), key=lambda item: len(item[1]))
    return Delimited(names, delimiter, body)


def _is_data(fields: list[str]) -> bool:
    """Return whether a first line is a flower with its columns in UCI's order, that is, not a header."""
    if len(fields) != len(FEATURES) + 1 or not all(NUMBER.fullmatch(field) for field in fields[:-1]):
        return False
    return class_label(fields[-1]) is not None


def _is_scikit_learn(fields: list[str]) -> bool:
    """Return whether a first line is that of scikit-learn's iris.csv: rows, features, names of the classes."""
    return fields[0].isdigit() and fields[1:] == [str(len(FEATURES)), *SPECIES]


class _Body(io.RawIOBase):
    """A stream to which bytes can be returned after they were read."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._rest.read(size)
        if size < 0:
            size = len(self._start)
        first, self._start = self._start[:size], self._start[size:]
        return first

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def put_back(self, start: bytes) -> None:
        self._start = start + self._start

    def is_empty(self) -> bool:
        """Skip blank lines, and return whether nothing follows them."""
        while not self._start:
            self._start = _read(self._rest, 2**16)
            if not self._start:
                return True
            self._start = self._start.lstrip(b"\r\n")
        return False

    def first_line(self, path: Path) -> tuple[bytes, bytes]:
        """Read the first line that is not blank. Return it and its end: LF, CR LF, CR, or nothing."""
        self._start = self._start.lstrip(b"\r\n")
        if self.is_empty():
            return b"", b""
        start = self._start + _read(self._rest, HEADER_BYTES - len(self._start))
        line, end = re.match(rb"([^\r\n]*)(\r\n|\r|\n|)", start).groups()  # type: ignore[union-attr]
        if len(line) >= HEADER_BYTES:
            raise BadInput(f"{path} is not a CSV file: its first line is longer than {HEADER_BYTES:,} bytes")
        self._start = start[len(line) + len(end) :]
        return line, end


def _read(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, or up to the end of the file. A pipe may return fewer bytes per call."""
    content = b""
    while len(content) < size and (more := file.read(size - len(content))):
        content += more
    return content
