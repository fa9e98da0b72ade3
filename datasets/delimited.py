"""CSV in the forms in which iris is handed around: which delimiter, which columns, and batches of text.

Files may be compressed with gzip, be delimited by comma, semicolon or tab, end their lines in any of three ways, begin
with a byte order mark, and have no header if their columns are in the order of UCI's iris.data.
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

from datasets.flowers import FEATURES, SPECIES, species_code
from errors import BadInput

BLOCK_BYTES = 2**20
"""CSV that is parsed at a time: some 50,000 flowers. No line may be longer. Arrow reads up to 32 blocks ahead, whatever
it is told about threads, so that larger blocks would take more memory the longer the file is."""

HEADER_BYTES = 2**20
"""The longest first line."""

DELIMITERS = (",", ";", "\t")
NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Delimited:
    """An open CSV file: the names of its columns, and what follows the header."""

    names: list[str]
    delimiter: str
    body: _Body

    def batches(self, columns: list[int]) -> Iterator[pa.RecordBatch]:
        """Yield the columns with these numbers as text, some rows at a time, in the order of `columns`.

        Other columns are not converted, so they may hold anything.
        """
        if self.body.is_empty():
            return
        names = [str(number) for number in range(len(self.names))]  # unique, unlike those of the header
        wanted = [names[number] for number in columns]
        yield from pa.csv.open_csv(
            self.body,
            read_options=pa.csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=self.delimiter),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )


def open_delimited(path: Path, file: BinaryIO) -> Delimited:
    """Read the first line of a CSV file, which need not be seekable. `path` is its name in error messages."""
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
        raise BadInput(f"{path} is empty; its first line should name the columns: {','.join(FEATURES)}")

    fields = {}
    for delimiter in DELIMITERS:
        try:
            fields[delimiter] = next(csv.reader([text], delimiter=delimiter))
        except csv.Error as error:
            raise BadInput(f"{path}, line 1 cannot be read: {error}") from None
    for delimiter, names in fields.items():
        if _is_data(names):
            body.put_back(text.encode() + end_of_line)
            return Delimited([*FEATURES, "species"], delimiter, body)
        if _is_scikit_learn(names):
            return Delimited([*FEATURES, "species"], delimiter, body)
        numbers = sum(bool(NUMBER.fullmatch(name)) for name in names)
        if numbers >= len(FEATURES) and 2 * numbers > len(names):
            header = delimiter.join([*FEATURES, "species"][: len(names)])
            more = ", with a name for every other column" if len(names) > len(FEATURES) + 1 else ""
            raise BadInput(f"{path} has no header; add this first line: {header}{more}")
    delimiter, names = max(fields.items(), key=lambda item: len(item[1]))
    return Delimited(names, delimiter, body)


def _is_data(fields: list[str]) -> bool:
    """Whether a first line is a flower in UCI's order, so that the file has no header."""
    if len(fields) != len(FEATURES) + 1 or not all(NUMBER.fullmatch(field) for field in fields[:-1]):
        return False
    return species_code(fields[-1]) is not None


def _is_scikit_learn(fields: list[str]) -> bool:
    """Whether a first line is that of scikit-learn's iris.csv: rows, features, names of the classes."""
    return fields[0].isdigit() and fields[1:] == [str(len(FEATURES)), *SPECIES]


class _Body(io.RawIOBase):
    """A stream that bytes can be put back into."""

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
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def put_back(self, start: bytes) -> None:
        self._start = start + self._start

    def is_empty(self) -> bool:
        """Skip blank lines, and tell whether nothing follows."""
        while not self._start:
            self._start = _read(self._rest, 2**16)
            if not self._start:
                return True
            self._start = self._start.lstrip(b"\r\n")
        return False

    def first_line(self, path: Path) -> tuple[bytes, bytes]:
        """Take the first line that is not blank, and return it with its end: LF, CR LF, CR, or nothing."""
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
    """Read as many bytes as there are, but for the last ones: a pipe gives fewer at a time."""
    found = b""
    while len(found) < size and (more := file.read(size - len(found))):
        found += more
    return found
