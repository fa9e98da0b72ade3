"""Predictions for many flowers: folders of files, pipelines, large files, and interruptions."""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import shlex
import signal
import stat
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
from tests import stranger
from tests.conftest import ROOT, Command, TrainedModel, one_line

IRIS = ROOT / "datasets" / "iris.csv"
LARGE = 3_000_000
ENOUGH_BYTES = 3 * 2**29
"""1.5 GiB."""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def model(trained_model: TrainedModel) -> Path:
    return trained_model("scikit-learn", "mlp")


def predict(model: Path, data: object, output: object) -> list[str]:
    words = ["--model", str(model), "--data", str(data), "--output", str(output)]
    return [sys.executable, "-m", "adapters", "predict", *words]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 3,000,000 flowers as CSV, 59 MB, in twelve pieces. The same 65,536 flowers are repeated."""
    path = tmp_path_factory.mktemp("large") / "flowers.csv"
    features = np.resize(chunk(0, Stream.TEST, 0)[0], (LARGE, 4)).astype(np.float64).round(2).clip(0.1)
    pa.csv.write_csv(pa.table(list(features.T.copy()), names=list(FEATURES)), path)
    return path


def test_every_file_of_a_folder_gets_a_results_file(command: Command, model: Path, tmp_path: Path) -> None:
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


def test_invalid_files_of_a_folder_are_listed_at_the_end_and_the_others_are_processed(
    command: Command, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("")
    (tmp_path / "in" / "b.csv").write_text(IRIS.read_text())
    (tmp_path / "in" / "c.csv").write_text(",".join(FEATURES) + "\n1,2,wide,4\n")
    (tmp_path / "in" / "d.csv.gz").write_bytes(gzip.compress(IRIS.read_bytes()))
    done = command(*predict(model, tmp_path / "in", tmp_path / "out")[2:])
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert f"error: {tmp_path / 'in' / 'a.csv'} is empty" in first
    assert "c.csv, row 1, column petal_length: 'wide' is not a number" in second
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.csv", "d.csv"]
    assert len((tmp_path / "out" / "d.csv").read_text().splitlines()) == 151


def test_file_names_print_only_text_to_the_terminal(command: Command, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, content in (("bad", ""), ("worse", "wide\n"), ("good", IRIS.read_text())):
        (folder / f"\x1b]0;title\x07\x1b[31m\n{name}.csv").write_text(content)
    done = command(*predict(model, folder, tmp_path / "out")[2:])
    assert [line[:7] for line in done.stderr.splitlines()] == ["error: "] * 2
    assert len(done.stdout.splitlines()) == 1
    [bad] = folder.glob("*bad.csv")
    said = done.stdout + done.stderr + one_line(command(*predict(model, bad, tmp_path / "out.csv")[2:]))
    assert said.replace("\n", "").isprintable()


def test_a_folder_may_contain_files_of_any_kind(command: Command, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "A.CSV").write_text(IRIS.read_text())
    (tmp_path / "in" / "b.Csv.GZ").write_bytes(gzip.compress(IRIS.read_bytes()))
    (tmp_path / "in" / "c.tsv").write_text(IRIS.read_text().replace(",", "\t"))
    (tmp_path / "in" / "z[0].txt").touch()
    (tmp_path / "in" / ".hidden.csv").touch()
    done = command(*predict(model, tmp_path / "in", tmp_path / "out")[2:])
    assert (done.returncode, done.stderr) == (0, "not read: z[0].txt\n")
    os.mkfifo(tmp_path / "in" / "d.csv")
    done = command(*predict(model, tmp_path / "in", tmp_path / "out")[2:])
    assert done.returncode == 1
    said = f"error: {tmp_path / 'in' / 'd.csv'} is not a regular file; remove it"
    assert done.stderr.splitlines() == ["not read: z[0].txt", said]
    results = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(results) == ["A.csv", "b.csv", "c.csv"] and len(set(results.values())) == 1
    (tmp_path / "in" / "B.csv").touch()
    (tmp_path / "in" / "b.tsv").touch()
    done = command(*predict(model, tmp_path / "in", tmp_path / "out")[2:])
    assert "b.Csv.GZ and b.tsv would both give b.csv; rename one of them" in one_line(done)


def test_keep_copies_columns_to_the_results(command: Command, model: Path, tmp_path: Path) -> None:
    header, *rows = IRIS.read_text().splitlines()
    ids = [f'plant "{number}", 5' for number in range(150)]
    with (tmp_path / "in.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", *header.split(","), "site"])
        lines.writerows([name, *row.split(","), "A"] for name, row in zip(ids, rows, strict=True))
    words = [*predict(model, tmp_path / "in.csv", tmp_path / "out.csv")[2:], "--keep", "id", "--keep", "site"]
    assert command(*words).returncode == 0
    assert command(*predict(model, IRIS, tmp_path / "plain.csv")[2:]).returncode == 0
    with (tmp_path / "out.csv").open(newline="") as file, (tmp_path / "plain.csv").open(newline="") as plain:
        kept = [(row.pop("id"), row.pop("site"), row) for row in csv.DictReader(file)]
        assert kept == [(name, "A", row) for name, row in zip(ids, csv.DictReader(plain), strict=True)]
    assert (tmp_path / "out.csv").read_text().startswith('"id","site","species","probability_setosa"')
    assert "has no column 'ID' to keep; it has 'id'" in one_line(command(*words, "--keep", "ID"))
    assert "--keep species: the results would have two columns" in one_line(command(*words, "--keep", "species"))
    assert "--keep id: the results would have two columns" in one_line(command(*words, "--keep", "id"))


@pytest.mark.parametrize("kind", ["itself", "symlink", "hard link", "standard input", "in a folder", "a folder"])
def test_results_never_replace_the_input(kind: str, command: Command, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = tmp_path / "in" / "flowers.csv"
    data.write_text(IRIS.read_text())
    words: tuple[object, object] = (data, data)
    if kind == "symlink":
        (tmp_path / "link.csv").symlink_to(data)
        words = (data, tmp_path / "link.csv")
    elif kind == "hard link":
        os.link(data, tmp_path / "link.csv")
        words = (data, tmp_path / "link.csv")
    elif kind == "in a folder":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "flowers.csv").symlink_to(data)
        words = (tmp_path / "in", tmp_path / "out")
    elif kind == "a folder":
        words = (data, tmp_path / "in")
    if kind == "standard input":
        with data.open("rb") as flowers:
            run = predict(model, "-", data)
            done = subprocess.run(run, cwd=ROOT, env=ENVIRONMENT, stdin=flowers, capture_output=True, text=True)
    else:
        done = command(*predict(model, *words)[2:])
    assert one_line(done)
    assert data.read_text() == IRIS.read_text()


def test_results_are_written_through_links_devices_and_fifos(model: Path, tmp_path: Path) -> None:
    subprocess.run(predict(model, IRIS, tmp_path / "plain.csv"), cwd=ROOT, env=ENVIRONMENT, check=True)
    expected = (tmp_path / "plain.csv").read_bytes()
    (tmp_path / "target.csv").write_text("of yesterday")
    (tmp_path / "link.csv").symlink_to("target.csv")
    os.mkfifo(tmp_path / "fifo")
    null = "/dev/null"
    if os.getuid() == 0:  # a device that a mistake could replace
        null = str(tmp_path / "null")
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    script = "; ".join(
        shlex.join(predict(model, IRIS, output)) for output in (tmp_path / "link.csv", null, "/dev/stdout")
    )
    with (tmp_path / "log.csv").open("wb") as log:
        subprocess.run(script, shell=True, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=subprocess.DEVNULL, check=True)
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "target.csv").read_bytes() == expected
    assert stat.S_ISCHR(os.stat(null).st_mode)
    assert (tmp_path / "log.csv").read_bytes().endswith(expected)
    with subprocess.Popen(predict(model, IRIS, tmp_path / "fifo"), cwd=ROOT, env=ENVIRONMENT) as writing:
        assert (tmp_path / "fifo").read_bytes() == expected
        assert writing.wait(60) == 0
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)


def test_a_wrong_path_for_the_results_is_bad_input(command: Command, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = {
        "file/out.csv": f"{tmp_path / 'file'} is a file; name a folder to write into",
        "file/sub/out.csv": "cannot be written: Not a directory; name another file to write",
        f"{'x' * 300}.csv": "File name too long",
        "/proc/irisbench/out.csv": "cannot be written: ",
    }
    for path, said in paths.items():
        assert said in one_line(command(*predict(model, IRIS, tmp_path / path)[2:]))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_invalid_data_creates_no_folder_for_the_results(command: Command, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.csv").write_text("a,b\n1,2\n")
    for data, output in (("in/bad.csv", "new/sub/out.csv"), ("in", "new/sub")):
        assert "has no column" in one_line(command(*predict(model, tmp_path / data, tmp_path / output)[2:]))
        assert not (tmp_path / "new").exists()
    (tmp_path / "in" / "good.csv").write_text(IRIS.read_text())
    assert command(*predict(model, tmp_path / "in", tmp_path / "new" / "sub")[2:]).returncode == 1
    assert [path.name for path in (tmp_path / "new" / "sub").iterdir()] == ["good.csv"]


@pytest.mark.parametrize("link", ["out.csv", "folder"])
def test_a_link_of_another_account_is_not_followed(link: str, command: Command, model: Path, tmp_path: Path) -> None:
    other = stranger.account()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "out.csv").write_text("of the user")
    (tmp_path / link).symlink_to(tmp_path / "mine" / "out.csv" if link == "out.csv" else tmp_path / "mine")
    (tmp_path / "own.csv").symlink_to(link if link == "out.csv" else f"{link}/out.csv")
    os.chown(tmp_path / link, other.pw_uid, other.pw_gid, follow_symlinks=False)
    for output in (tmp_path / ("out.csv" if link == "out.csv" else "folder/out.csv"), tmp_path / "own.csv"):
        said = one_line(command(*predict(model, IRIS, output)[2:]))
        assert f"{tmp_path / link} is a symbolic link of another account" in said
    assert (tmp_path / "mine" / "out.csv").read_text() == "of the user"


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ("- < flowers.csv --output - >&-", "standard output is closed"),
        ("- --output out.csv <&-", "standard input is closed"),
        ("flowers.csv --output - > /dev/full", "standard output cannot be written: No space left on device"),
        ("flowers.csv --output /dev/full", "/dev/full cannot be written: No space left on device"),
    ],
)
def test_closed_streams_and_full_devices_get_one_line(model: Path, tmp_path: Path, streams: str, said: str) -> None:
    if "/dev/full" in streams and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "flowers.csv").write_text(IRIS.read_text())
    command = shlex.join([sys.executable, "-m", "adapters", "predict", "--model", str(model)])
    done = subprocess.run(
        f"{command} --data {streams}", shell=True, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (1, f"error: {said}\n")


def test_standard_output_may_be_closed_if_it_is_not_needed(model: Path, tmp_path: Path) -> None:
    command = shlex.join(predict(model, IRIS, tmp_path / "out.csv"))
    done = subprocess.run(f"{command} >&-", shell=True, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE)
    assert done.returncode == 0 and done.stderr == b""
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 151


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--memory", "1KiB"], "the memory limit is 1 kB, and no framework starts in less than 134 MB"),
        (["--memory", "99999TiB"], "the memory limit needs 110 PB, the machine has"),
        (["--threads", "9999"], "--threads 9,999 needs 9,999 cores, this process may use"),
    ],
)
def test_limits_beyond_those_of_the_machine_are_rejected(
    words: list[str], said: str, command: Command, model: Path, tmp_path: Path
) -> None:
    assert said in one_line(command(*predict(model, IRIS, tmp_path / "out.csv")[2:], *words))
    train = ["--framework", "baseline", "--model", "mlp", "--data", IRIS, "--output", tmp_path / "new"]
    assert said in one_line(command("adapters", "train", *train, *words))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["-", "a-file"])
def test_a_folder_of_files_requires_an_output_folder(
    command: Command, model: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(IRIS.read_text())
    (tmp_path / "a-file").touch()
    words = predict(model, tmp_path / "in", output if output == "-" else tmp_path / output)[2:]
    assert "name a folder to write their results into" in one_line(command(*words))
    words = predict(model, tmp_path / "in", tmp_path / "in")[2:]
    assert "is the folder of the input" in one_line(command(*words))


def test_predict_works_in_a_pipeline(command: Command, model: Path, tmp_path: Path) -> None:
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
def test_a_stream_without_flowers_is_rejected_in_one_line(model: Path, given: bytes, said: str) -> None:
    done = subprocess.run(predict(model, "-", "-"), cwd=ROOT, env=ENVIRONMENT, input=given, capture_output=True)
    assert done.returncode == 2 and done.stdout == b""
    assert said in done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize("framework", ["scikit-learn", "pytorch-cpu", "tensorflow-cpu", "spark"])
def test_a_large_file_needs_the_memory_of_its_pieces_and_keeps_its_order(
    large: Path, trained_model: TrainedModel, tmp_path: Path, framework: str
) -> None:
    process = psutil.Popen(
        predict(trained_model(framework, "mlp"), large, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT
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
    assert names[period:].equals(names[:-period])  # the flowers are repeated in the same order


def used_bytes(process: psutil.Process) -> int:
    """Return the memory of a process and its descendants. Shared pages count once."""
    used = 0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found = one.memory_full_info()
                used += getattr(found, "pss", found.rss)
    return used


def test_an_invalid_row_far_down_a_large_file_is_named_by_its_number(model: Path, large: Path, tmp_path: Path) -> None:
    data = tmp_path / "flowers.csv"
    data.write_bytes(large.read_bytes() + b"1,2,wide,4\n")
    done = subprocess.run(predict(model, data, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 2
    assert f"{data}, row 3000001, column petal_length: 'wide' is not a number" in done.stderr.decode()
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_incomplete_file(model: Path, large: Path, tmp_path: Path, ending: int) -> None:
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


def test_the_species_is_the_one_with_the_largest_probability(model: Path, tmp_path: Path) -> None:
    subprocess.run(predict(model, IRIS, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT, check=True)
    with (tmp_path / "out.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            shares = [float(row[f"probability_{name}"]) for name in SPECIES]
            assert row["species"] == SPECIES[int(np.argmax(shares))]
