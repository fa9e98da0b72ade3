"""All common forms of the iris data can be read. Other content is rejected in one line."""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from datasets import tables
from datasets.flowers import FEATURES, FILE, real_flowers
from errors import BadInput
from tests.conftest import ROOT
from tests.mutations import with_other_bytes

LINES = FILE.read_text().splitlines()[1:]
NAMES = ["setosa"] * 50 + ["versicolor"] * 50 + ["virginica"] * 50


def joined(header: str | None, separator: str = ",", decimal: str = ".", end: str = "\n", species: str = "{}") -> bytes:
    """Return the 150 flowers as text. `species` is a pattern for their names."""
    rows = []
    for number, line in enumerate(LINES, start=1):
        *values, name = line.split(",")
        written = species.format(name, id=number, code=("setosa", "versicolor", "virginica").index(name))
        rows.append(separator.join([*(value.replace(".", decimal) for value in values), written]))
    return end.join([*([header] if header is not None else []), *rows, ""]).encode()


def with_first_column(header: str, content: bytes) -> bytes:
    first, *rows = content.decode().splitlines()
    return "\n".join([f"{header},{first}", *(f"{number},{row}" for number, row in enumerate(rows))]).encode()


SEABORN = "sepal_length,sepal_width,petal_length,petal_width,species"
FORMS = {
    "seaborn.csv": joined(SEABORN),
    "iris.data": joined(None, species="Iris-{}") + b"\n\n",  # UCI's file ends with a blank line
    "codes.data": joined(None, species="{code}"),
    "iris.csv.gz": gzip.compress(joined(SEABORN)),
    "data.gz": gzip.compress(joined(None, species="Iris-{}")),
    "semicolon.csv": joined(SEABORN.replace(",", ";"), ";", ","),
    "semicolon-headerless.csv": joined(None, ";", ","),
    "tab.tsv": joined(SEABORN.replace(",", "\t"), "\t", ","),
    "points.tsv": joined(SEABORN.replace(",", "\t"), "\t"),
    "scikit-learn.csv": joined("150,4,setosa,versicolor,virginica", species="{code}"),
    "frame.csv": joined(
        "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm),target", species="{code}"
    ),
    "r.csv": with_first_column('""', joined('"Sepal.Length","Sepal.Width","Petal.Length","Petal.Width","Species"')),
    "kaggle.csv": with_first_column(
        "Id", joined("SepalLengthCm,SepalWidthCm,PetalLengthCm,PetalWidthCm,Species", species="Iris-{}")
    ),
    "pandas.csv": with_first_column("", joined(SEABORN)),
    "unnamed.csv": with_first_column("Unnamed: 0", joined(SEABORN)),
    "variety.csv": joined('"sepal.length","sepal.width","petal.length","petal.width","variety"', species='"{}"'),
    "excel.csv": b"\xef\xbb\xbf" + joined(SEABORN, end="\r\n"),
    "mac.csv": joined(SEABORN, end="\r"),
    "mac.data": joined(None, end="\r"),
    "spaces.csv": joined(SEABORN.replace(",", ", "), ", "),
    "second-version.csv": with_first_column("petal_length_2", joined(SEABORN)),
    "latin-1-elsewhere.csv": with_first_column("note", joined(SEABORN)).replace(b"\n7,", b"\n\xe9t\xe9,"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_common_form_gives_the_150_flowers(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMS[name])
    features, species = tables.read(tmp_path / name, with_species=True)
    np.testing.assert_array_equal(features, real_flowers()[0])
    np.testing.assert_array_equal(species, real_flowers()[1])
    streamed = list(tables.pieces(Path("-"), with_species=False, file=io.BytesIO(FORMS[name])))
    np.testing.assert_array_equal(np.concatenate([piece.features for piece in streamed]), features)


@pytest.mark.parametrize("name", ["sklearn/datasets/data/iris.csv", "h2o/h2o_data/iris.csv"])
def test_the_files_of_other_projects_can_be_read(name: str) -> None:
    package, *parts = name.split("/")
    pytest.importorskip(package)
    features, species = tables.read(Path(str(files(package).joinpath(*parts))), with_species=True)
    np.testing.assert_array_equal(features, real_flowers()[0])
    np.testing.assert_array_equal(species, real_flowers()[1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f"{SEABORN},petal_length\n1,2,3,4,setosa,5\n",
            "2 columns for petal_length: 'petal_length' and 'petal_length'",
        ),
        (f"{SEABORN},Petal.Length\n1,2,3,4,setosa,5\n", "for petal_length: 'petal_length' and 'Petal.Length'"),
        (f"{SEABORN},Species\n1,2,3,4,setosa,5\n", "for species: 'species' and 'Species'"),
        (SEABORN.replace("petal_length", "petal_length_2") + "\n1,2,3,4,setosa\n", "no column petal_length;"),
        (SEABORN.replace("petal_length", "petal_length_mm") + "\n1,2,3,4,setosa\n", "no column petal_length;"),
        (f"{SEABORN}\n1_000,2,3,4,setosa\n", "row 1, column sepal_length: '1_000' is not a number; write 5.1 or 5,1"),
        (f"{SEABORN}\n1,2,0x1f,4,setosa\n", "row 1, column petal_length: '0x1f' is not a number"),
        ("5.1,3.5,1.4,0.2\n", f"has no header; add this first line: {','.join(FEATURES)}"),
        ("5,1;3,5;1,4;0,2;tulip\n", f"has no header; add this first line: {SEABORN.replace(',', ';')}"),
        ("1,5.1,3.5,1.4,0.2,setosa\n", f"add this first line: {SEABORN}, with a name for every other column"),
        (f"{SEABORN},1,2,3,4,5\n5.1,3.5,1.4,0.2,tulip,1,1,1,1,1\n", "there is no species 'tulip'"),
        (f"{SEABORN}\n-inf,2,3,4,setosa\n", "'-inf' is not a length in cm; correct it or remove the row"),
        (f"{SEABORN}\n1e99,2,3,4,setosa\n", "'1e99' is not a length in cm; correct it or remove the row"),
        (f'{SEABORN},"{"x" * 200_000}"\n', "line 1 cannot be read: field larger than field limit"),
        ("\ufeff" + SEABORN.encode("utf-16").decode("latin-1"), "has no column"),
        (f"{SEABORN}\n" + "1" * 3_000_000 + ",2,3,4,setosa\n", "read: a line is longer than 1,048,576 bytes; shorten"),
        ("\n" * 1_000_000, "is empty"),
    ],
)
@pytest.mark.filterwarnings("error")  # a warning would be another line
def test_invalid_content_is_rejected_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "flowers.csv").write_text(content)
    with pytest.raises(BadInput) as refused:
        tables.read(tmp_path / "flowers.csv", with_species=True)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1_000


def test_a_first_line_without_end_needs_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "flowers.csv").open("wb") as file:
        file.truncate(2**31)  # a sparse file of 2 GiB
    script = (
        "import sys; from pathlib import Path; from datasets import tables\n"
        "tables.read(Path(sys.argv[1]), with_species=False)"
    )
    limit = 2**31
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "flowers.csv")],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert "is not a CSV file: its first line is longer than 1,048,576 bytes" in done.stderr


def test_implausible_values_are_reported_with_their_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flowers.csv").write_text(
        f"{SEABORN}\n5.1,3.5,1.4,0.2,setosa\n1e30,3.5,1.4,0.2,setosa\n5.1,0,1.4,-1,setosa\n5.1,3,140,2,virginica\n"
    )
    features, _ = tables.read(tmp_path / "flowers.csv", with_species=True)
    assert len(features) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "row 2, column sepal_length: 1e+30 cm is implausible; expected more than 0 and at most 100 cm" in lines[0]
    assert "row 3, column petal_width: -1 cm is implausible" in lines[2]
    assert "flowers.csv: 4 implausible values in total" in lines[3]


def test_pieces_keep_a_column_as_text_and_the_order_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PIECE_ROWS", 60)
    monkeypatch.setattr(tables, "BATCH_ROWS", 25)
    table = pa.csv.read_csv(FILE).append_column("id", pa.array(range(150)))
    pa.parquet.write_table(table, tmp_path / "iris.parquet")
    pieces = list(tables.pieces(tmp_path / "iris.parquet", with_species=False, keep=["id"]))
    assert [len(piece.features) for piece in pieces] == [75, 75]
    assert [text for piece in pieces for text in piece.kept[0].to_pylist()] == [str(number) for number in range(150)]
    np.testing.assert_array_equal(np.concatenate([piece.features for piece in pieces]), real_flowers()[0])


def test_a_fifo_in_a_folder_of_parquet_files_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "flowers.parquet")
    with pytest.raises(BadInput, match=r"flowers\.parquet is not a regular file"):
        tables.read(tmp_path, with_species=True)


class Endless(io.RawIOBase):
    """A CSV file of many equal lines that counts the bytes that are read."""

    line = b"5.1,3.5,1.4,0.2,setosa\n"

    def __init__(self, rows: int) -> None:
        self.given, self.size = 0, rows * len(self.line)

    def read(self, size: int = -1) -> bytes:
        first = self.given % len(self.line)
        count = min(size, self.size - self.given)
        self.given += count
        return (self.line * (count // len(self.line) + 2))[first : first + count]


def test_csv_is_not_read_far_ahead_of_its_pieces() -> None:
    file = Endless(4_000_000)  # 92 MB
    seen = ahead = 0
    for piece in tables.pieces(Path("flowers.csv"), with_species=False, file=file):  # type: ignore[arg-type]
        seen += len(piece.features) * len(file.line)
        ahead = max(ahead, file.given - seen)
    assert seen == file.size
    assert ahead < 3 * 2**24


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_damaged_files_are_read_or_rejected_without_another_error(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"flowers.{form}"
    if form == "parquet":
        pa.parquet.write_table(pa.csv.read_csv(FILE), path, compression="none")
        content = path.read_bytes()
    else:
        content = joined(SEABORN) if form == "csv" else FORMS["iris.csv.gz"]
    chance = random.Random(12)
    outcomes = set()
    for changed in [b"", content.replace(b"\n", b"\r"), *(with_other_bytes(content, chance) for _ in range(400))]:
        path.write_bytes(changed)
        for with_species in (False, True):
            try:
                features, _ = tables.read(path, with_species)
                assert np.isfinite(features).all() and features.shape[1] == len(FEATURES)
                outcomes.add("read")
            except BadInput as error:
                assert "\n" not in str(error)
                outcomes.add("rejected")
    assert outcomes == {"read", "rejected"}
