"""Naming many flowers: folders of files, pipelines, large files, and what an interruption leaves."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pytest

from datasets.flowers import FEATURES, SPECIES
from datasets.synthetic import Stream, chunk
from tests.conftest import ROOT, Command, missing, one_line

IRIS = ROOT / "datasets" / "iris.csv"
LARGE = 3_000_000
ENOUGH_BYTES = 3 * 2**29
"""1.5 GiB."""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def trained(framework: str, folder: Path) -> Path:
    words = ["--framework", framework, "--model", "mlp", "--data", str(IRIS), "--output", str(folder)]
    subprocess.run([sys.executable, "-m", "adapters", "train", *words], cwd=ROOT, check=True, env=ENVIRONMENT)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("scikit-learn", tmp_path_factory.mktemp("trained") / "model")


def predict(model: Path, data: object, output: object) -> list[str]:
    words = ["--model", str(model), "--data", str(data), "--output", str(output)]
    return [sys.executable, "-m", "adapters", "predict", *words]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000,000 flowers as CSV, 59 MB, in four pieces: the same 65,536 again and again."""
    path = tmp_path_factory.mktemp("large") / "flowers.csv"
    features = np.resize(chunk(0, Stream.TEST, 0)[0], (LARGE, 4)).astype(np.float64).round(2)
    pa.csv.write_csv(pa.table(list(features.T.copy()), names=list(FEATURES)), path)
    return path


def test_a_folder_of_files_gets_a_file_of_results_for_each(command: Command, model: Path, tmp_path: Path) -> None:
    header, *rows = IRIS.read_text().splitlines()
    (tmp_path / "in").mkdir()
    for name, some in (("monday", rows[:60]), ("tuesday", rows[60:])):
        (tmp_path / "in" / f"{name}.csv").write_text("\n".join([header, *some]) + "\n")
    done = command("adapters", "predict", "--model", model, "--data", tmp_path / "in", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert command(*predict(model, IRIS, tmp_path / "all.csv")[2:]).returncode == 0
    _, *expected = (tmp_path / "all.csv").read_text().splitlines()
    found = [(tmp_path / "out" / f"{name}.csv").read_text().splitlines()[1:] for name in ("monday", "tuesday")]
    assert [len(lines) for lines in found] == [60, 90] and found[0] + found[1] == expected
    assert "monday.csv: 60 predictions by scikit-learn" in done.stdout


def test_a_bad_file_of_a_folder_is_named_and_the_others_are_whole(
    command: Command, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(IRIS.read_text())
    (tmp_path / "in" / "b.csv").write_text(",".join(FEATURES) + "\n1,2,wide,4\n")
    done = command("adapters", "predict", "--model", model, "--data", tmp_path / "in", "--output", tmp_path / "out")
    assert "b.csv, row 1, column petal_length: 'wide' is no number" in one_line(done)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]


@pytest.mark.parametrize("output", ["-", "a-file"])
def test_a_folder_wants_a_folder_to_write_into(command: Command, model: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(IRIS.read_text())
    (tmp_path / "a-file").touch()
    words = predict(model, tmp_path / "in", output if output == "-" else tmp_path / output)[2:]
    assert "name a folder to write theirs into" in one_line(command(*words))
    words = predict(model, tmp_path / "in", tmp_path / "in")[2:]
    assert "holds the flowers themselves" in one_line(command(*words))


def test_it_stands_in_a_pipeline(command: Command, model: Path, tmp_path: Path) -> None:
    with IRIS.open("rb") as flowers:
        done = subprocess.run(predict(model, "-", "-"), cwd=ROOT, env=ENVIRONMENT, stdin=flowers, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert command(*predict(model, IRIS, tmp_path / "file.csv")[2:]).returncode == 0
    assert done.stdout == (tmp_path / "file.csv").read_bytes()
    assert b"150 predictions by scikit-learn" in done.stderr


def test_a_pipeline_that_is_closed_early_ends_quietly(model: Path, large: Path) -> None:
    command = predict(model, large, "-")
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout and done.stderr
        assert done.stdout.readline().startswith(b"species,")
        done.stdout.close()
        said = done.stderr.read()
        assert done.wait(60) == 1 and not said


@pytest.mark.parametrize(
    ("given", "said"), [(b"", "standard input is empty"), (b"a,b\n1,2\n", "standard input has no column sepal_length")]
)
def test_a_stream_that_holds_no_flowers_is_told_in_one_line(model: Path, given: bytes, said: str) -> None:
    done = subprocess.run(predict(model, "-", "-"), cwd=ROOT, env=ENVIRONMENT, input=given, capture_output=True)
    assert done.returncode == 2 and done.stdout == b""
    assert said in done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize("framework", ["scikit-learn", "pytorch-cpu", "tensorflow-cpu", "spark"])
def test_a_large_file_takes_no_more_memory_than_its_pieces_and_keeps_its_order(
    large: Path, tmp_path: Path, framework: str
) -> None:
    if reason := missing(framework):
        pytest.skip(str(reason))
    process = psutil.Popen(
        predict(trained(framework, tmp_path / "model"), large, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT
    )
    largest = 0
    while process.poll() is None:
        largest = max(largest, used_bytes(process))
        time.sleep(0.1)
    assert process.returncode == 0
    assert 2**26 < largest < ENOUGH_BYTES
    species = pa.csv.ConvertOptions(include_columns=["species"])
    names = pa.csv.read_csv(tmp_path / "out.csv", convert_options=species)["species"].combine_chunks()
    period = len(chunk(0, Stream.TEST, 0)[0])
    assert len(names) == LARGE and set(names.unique().to_pylist()) == set(SPECIES)
    assert names[period:].equals(names[:-period])  # the same flowers again, in their order


def used_bytes(process: psutil.Process) -> int:
    """Of the process and all below it, where pages that they share count once."""
    used = 0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found = one.memory_full_info()
                used += getattr(found, "pss", found.rss)
    return used


def test_a_bad_row_far_down_a_large_file_is_named_by_its_number(model: Path, large: Path, tmp_path: Path) -> None:
    data = tmp_path / "flowers.csv"
    data.write_bytes(large.read_bytes() + b"1,2,wide,4\n")
    done = subprocess.run(predict(model, data, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 2
    assert f"{data}, row 3000001, column petal_length: 'wide' is no number" in done.stderr.decode()
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_half_of_a_file(model: Path, large: Path, tmp_path: Path, ending: int) -> None:
    output = tmp_path / "out.csv"
    output.write_text("of yesterday")
    command = predict(model, large, output)
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE) as done:
        while len(list(tmp_path.iterdir())) < 2:  # until it has begun to write
            assert done.poll() is None
            time.sleep(0.01)
        done.send_signal(ending)
        assert done.stderr
        said = done.stderr.read()
        assert done.wait(60) == 128 + ending and b"Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert output.read_text() == "of yesterday"


def test_the_names_are_those_of_the_largest_probability(model: Path, tmp_path: Path) -> None:
    subprocess.run(predict(model, IRIS, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT, check=True)
    with (tmp_path / "out.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            shares = [float(row[f"probability_{name}"]) for name in SPECIES]
            assert row["species"] == SPECIES[int(np.argmax(shares))]
