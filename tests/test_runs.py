"""Whole runs that are killed, resumed, interrupted, or run out of disk space, time or memory."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks.case_process.events import FILE as EVENTS
from benchmarks.results import environment, records
from benchmarks.results.records import SET_ASIDE, Record
from tests.conftest import ROOT, Command, missing, one_line

SMALL = ["--framework", "baseline", "--rows", "150", "--rows", "2000", "--launches", "2"]
"""Eight launches of about a second each."""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set a mark in the environment of every process that a test starts, to find them whatever their parents are."""
    word = f"irisbench-test-{os.getpid()}-{random.getrandbits(64)}"
    monkeypatch.setenv("IRISBENCH_TEST", word)
    yield word


def marked(word: str) -> list[psutil.Process]:
    """Return the processes with this mark, without this process."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("IRISBENCH_TEST") == word:
                found.append(process)
        except psutil.Error:  # it has ended, or belongs to another user
            continue
    return found


def all_gone(word: str) -> bool:
    """Return whether all processes with this mark end within 5 s."""
    end = time.monotonic() + 5
    while (left := marked(word)) and time.monotonic() < end:
        time.sleep(0.05)
    return not left


def start(*words: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "run", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def essence(record: Record) -> tuple[object, ...]:
    """Return the values that are equal whenever a case is run."""
    return record.case, record.launch, record.outcome, record.quality, json.dumps(record.recipe)


def test_a_run_that_was_killed_8_times_has_the_records_of_an_undisturbed_run(
    command: Command, tmp_path: Path, mark: str
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert command("benchmarks", "run", *SMALL, "--output", undisturbed).returncode == 0
    moments = random.Random(7)
    for _ in range(8):
        begun = (killed / "plan.json").exists()
        run = start("--resume", killed) if begun else start(*SMALL, "--output", killed)
        try:
            run.wait(timeout=moments.uniform(0.3, 3.0))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
        assert all_gone(mark), marked(mark)
    done = command("benchmarks", "run", "--resume", killed)
    assert done.returncode == 0, done.stderr
    left = list(records.read(killed))
    assert sorted(map(essence, left), key=str) == sorted(map(essence, records.read(undisturbed)), key=str)
    assert len({(record.case, record.launch) for record in left}) == len(left) == 8
    assert not (killed / "cases").exists()


def test_an_incomplete_line_and_a_record_of_an_older_schema_are_set_aside_and_measured_again(
    command: Command, tmp_path: Path
) -> None:
    words = ["--framework", "baseline", "--model", "mlp", "--rows", "150", "--launches", "3"]
    assert command("benchmarks", "run", *words, "--output", tmp_path / "run").returncode == 0
    path = tmp_path / "run" / records.FILE
    first, second, third = path.read_text().splitlines(keepends=True)
    older = second.replace(f'"schema": {records.SCHEMA}', '"schema": 2')
    path.write_text(first + older + third[:200])
    assert [record.launch for record in records.read(tmp_path / "run")] == [1, 2]
    done = command("benchmarks", "run", "--resume", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert path.read_text().startswith(first)
    assert [(record.launch, record.schema) for record in records.read(tmp_path / "run")] == [
        (launch, records.SCHEMA) for launch in (1, 2, 3)
    ]
    assert (tmp_path / "run" / SET_ASIDE).read_text() == older + third[:200] + "\n"


def test_records_of_another_version_are_measured_again_and_the_reason_is_printed(
    command: Command, tmp_path: Path
) -> None:
    words = ["--framework", "baseline", "--framework", "scikit-learn", "--model", "logistic", "--rows", "150"]
    folder = tmp_path / "run"
    assert command("benchmarks", "run", *words, "--launches", "1", "--output", folder).returncode == 0
    facts = json.loads((folder / "environment.json").read_text())
    version = facts["frameworks"]["scikit-learn"]["version"]
    facts["frameworks"]["scikit-learn"]["version"] = "0.1"
    (folder / "environment.json").write_text(json.dumps(facts))
    before = {record.case.framework: record for record in records.read(folder)}
    done = command("benchmarks", "run", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert f"(scikit-learn): scikit-learn was 0.1 and is {version}" in done.stdout
    after = {record.case.framework: record for record in records.read(folder)}
    assert after["baseline"] == before["baseline"]
    assert after["scikit-learn"].started != before["scikit-learn"].started
    assert before["scikit-learn"].to_json() in (folder / SET_ASIDE).read_text()


def test_resuming_a_complete_run_measures_nothing(command: Command, tmp_path: Path) -> None:
    words = ["--framework", "baseline", "--model", "mlp", "--rows", "150", "--launches", "1"]
    assert command("benchmarks", "run", *words, "--output", tmp_path / "run").returncode == 0
    before = (tmp_path / "run" / records.FILE).read_text()
    assert command("benchmarks", "run", "--resume", tmp_path / "run").returncode == 0
    assert (tmp_path / "run" / records.FILE).read_text() == before
    refused = command("benchmarks", "run", "--resume", tmp_path / "run", "--rows", "1e4")
    assert "--rows cannot be combined with --resume" in one_line(refused)


def test_a_folder_that_is_not_a_run_cannot_be_resumed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "cannot be resumed: it has no plan.json" in one_line(
        command("benchmarks", "run", "--resume", tmp_path / "nowhere")
    )
    assert "it has no plan.json" in one_line(command("benchmarks", "run", "--resume", tmp_path / "empty"))
    assert "use --resume" in one_line(command("benchmarks", "run", tmp_path / "empty"))


def test_a_second_run_in_the_same_folder_is_refused(
    command: Command, tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
    monkeypatch.setenv("HINDER", "train sleep")
    folder = tmp_path / "run"
    first = start(*SMALL, "--output", folder)
    while not any('"train"' in path.read_text() for path in folder.glob(f"cases/*/{EVENTS}")):
        assert first.poll() is None
        time.sleep(0.05)
    assert "another run is writing to" in one_line(command("benchmarks", "run", "--resume", folder))
    first.send_signal(signal.SIGTERM)
    output = first.communicate()[0]
    assert first.returncode == 143, output
    assert all_gone(mark)


def begun(run: subprocess.Popen[str], folder: Path) -> bool:
    return True


def measuring(run: subprocess.Popen[str], folder: Path) -> bool:
    """Return whether the run has a record and is measuring its next case."""
    recorded = folder / records.FILE
    return recorded.exists() and recorded.stat().st_size > 0 and any(folder.glob(f"cases/*/{EVENTS}"))


def reporting(run: subprocess.Popen[str], folder: Path) -> bool:
    with suppress(psutil.Error):  # a child has just ended
        return any("reports" in child.cmdline() for child in psutil.Process(run.pid).children())
    return False


@pytest.mark.parametrize(
    ("moment", "signals", "code"),
    [
        (begun, [signal.SIGINT], 130),
        (measuring, [signal.SIGINT, signal.SIGINT], 130),
        (measuring, [signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM], 143),
        (measuring, [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], 129),
        (reporting, [signal.SIGINT, signal.SIGINT], 130),
    ],
)
def test_signals_end_a_run_with_a_report_and_leave_no_process(
    moment: Callable[[subprocess.Popen[str], Path], bool],
    signals: list[signal.Signals],
    code: int,
    tmp_path: Path,
    mark: str,
) -> None:
    folder = tmp_path / "run"
    run = start(*SMALL, "--output", folder)
    while not moment(run, folder):
        assert run.poll() is None
        time.sleep(0.02)
    for number in signals:
        run.send_signal(number)
    output = run.communicate()[0]
    assert "Traceback" not in output
    assert run.returncode in (code, -signals[0]), output  # the first signal may end Python before our code runs
    assert all_gone(mark), marked(mark)
    if moment is measuring:
        assert 1 <= len(list(records.read(folder))) < 8
        assert (folder / "report.html").exists()
    if moment is reporting:
        assert len(list(records.read(folder))) == 8
        assert not list(folder.glob(".irisbench-report-*"))


def test_a_full_disk_ends_the_run_with_one_line_and_leaves_complete_records(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    words = ["--framework", "baseline", "--rows", "150", "--launches", "2"]
    # A first run makes the data, which is larger than the limit for files that simulates the full disk.
    assert command("benchmarks", "run", *words, "--output", tmp_path / "first").returncode == 0
    room = 20_000

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    run = start(*words, "--output", folder, preexec_fn=fill)
    output = run.communicate()[0]
    assert run.returncode == 1, output
    assert output.count("error: ") == 1
    assert f"error: {folder / records.FILE}: File too large. All records are kept" in output
    assert "Traceback" not in output
    left = list(records.read(folder))
    assert 1 <= len(left) < 4
    assert (folder / records.FILE).read_bytes().endswith(b"\n")
    assert command("benchmarks", "run", "--resume", folder).returncode == 0
    assert len(list(records.read(folder))) == 4


def test_after_a_timeout_larger_sizes_are_skipped_unless_no_skip_is_given(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
    monkeypatch.setenv("HINDER", "train sleep")
    words = ["--framework", "baseline", "--model", "mlp", "--rows", "1000", "--rows", "2000", "--launches", "1"]
    words += ["--time-limit", "1"]
    assert command("benchmarks", "run", *words, "--output", tmp_path / "skips").returncode == 0
    small, large = records.read(tmp_path / "skips")
    assert (small.outcome, large.outcome) == ("timeout", "skipped")
    assert large.inferred_from == small.case
    assert large.reason == "inferred, not measured: 1,000 rows already ended in timeout"
    assert command("benchmarks", "run", *words, "--no-skip", "--output", tmp_path / "all").returncode == 0
    assert [record.outcome for record in records.read(tmp_path / "all")] == ["timeout", "timeout"]


def test_a_recipe_that_became_slower_is_reported_and_fails_the_check(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing("scikit-learn"):
        pytest.skip(reason)
    words = ["--framework", "scikit-learn", "--model", "logistic", "--rows", "10_000", "--launches", "3"]
    assert command("benchmarks", "run", *words, "--output", tmp_path / "before").returncode == 0
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
    monkeypatch.setenv("HINDER", "train 20")  # far more than a busy machine causes
    assert command("benchmarks", "run", *words, "--output", tmp_path / "after").returncode == 0
    gate = command("benchmarks", "compare", tmp_path / "before", tmp_path / "after", "--fail-on-slower", "10%")
    assert gate.returncode == 1, gate.stderr
    assert "1 slower" in gate.stdout
    back = command("benchmarks", "compare", tmp_path / "after", tmp_path / "before", "--fail-on-slower", "10%")
    assert back.returncode == 0, back.stderr
    assert "1 faster" in back.stdout


def test_after_the_time_budget_every_case_has_one_launch_and_resume_adds_the_others(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = ["--framework", "baseline", "--rows", "150", "--launches", "3", "--time-budget", "1"]
    done = command("benchmarks", "run", *words, "--output", folder)
    assert done.returncode == 0, done.stderr
    assert [record.launch for record in records.read(folder)] == [1, 1]
    assert "4 further launches were left out, because the time budget of 1 s is used up; add them with" in done.stdout
    planned = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(planned | {"time_budget_s": None}))
    started = environment.read(folder / environment.FILE).started
    assert command("benchmarks", "run", "--resume", folder).returncode == 0
    assert [record.launch for record in records.read(folder)] == [1, 1, 2, 2, 3, 3]
    assert environment.read(folder / environment.FILE).started == started


def test_rows_that_exceed_the_memory_limit_are_streamed_from_the_disk(command: Command, tmp_path: Path) -> None:
    if reason := missing("scikit-learn"):
        pytest.skip(reason)
    words = ["--framework", "scikit-learn", "--model", "mlp", "--rows", "1e7", "--memory-limit", "480MiB"]
    done = command("benchmarks", "run", *words, "--launches", "1", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    [record] = records.read(tmp_path / "run")
    assert record.outcome == "ok", record.reason
    assert record.recipe["streamed"] is True
    assert record.quality is not None
    assert record.quality.reached_target
