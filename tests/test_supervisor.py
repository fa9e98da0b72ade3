"""The supervisor against real processes that sleep, eat, crash, fork and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import supervisor
from benchmarks.cases import Case
from benchmarks.records import Record
from benchmarks.supervisor import Limits
from tests.conftest import ROOT

MIB = 1 << 20
CASE = Case("baseline", "logistic", 150)
BEGIN_TRAIN = """
import os, pathlib, signal, subprocess, sys, time
from benchmarks.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
journal.begin("train")
"""


def supervise(folder: Path, script: str, limits: Limits) -> Record:
    """The record of a case whose process runs `script`."""
    argv = [sys.executable, "-c", BEGIN_TRAIN + script, str(folder / "case")]
    return supervisor.run(CASE, limits, folder / "case", "a run", argv=argv)


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = set(descendants())
    yield
    assert [child for child in descendants() if child not in before] == []


def test_a_phase_past_its_time_limit_is_a_timeout(tmp_path: Path) -> None:
    record = supervise(tmp_path, "time.sleep(600)", Limits(1.0, 1024 * MIB))
    assert (record.outcome, record.phase) == ("timeout", "train")
    assert record.reason == "train took longer than the 1 s allowed"
    assert record.wall_seconds is not None
    assert record.wall_seconds < 60


def test_a_child_that_ignores_term_is_ended_all_the_same(tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    assert supervise(tmp_path, script, Limits(1.0, 1024 * MIB)).outcome == "timeout"


def test_a_grandchild_that_outlives_its_parent_is_ended_too(tmp_path: Path) -> None:
    script = """
import shlex
subprocess.run(["sh", "-c", "setsid sleep 600 & echo $! > " + shlex.quote(sys.argv[1]) + "/orphan"])
time.sleep(0.5)
os._exit(3)
"""
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    orphan = int((tmp_path / "case" / "orphan").read_text())
    assert (record.outcome, record.phase) == ("failed", "train")
    assert not psutil.pid_exists(orphan)


def test_memory_past_the_limit_is_out_of_memory_with_both_figures(tmp_path: Path) -> None:
    script = "eaten = []\nwhile True:\n    eaten.append(bytearray(20 << 20))\n    time.sleep(0.02)"
    record = supervise(tmp_path, script, Limits(60.0, 300 * MIB))
    assert (record.outcome, record.phase) == ("out-of-memory", "train")
    assert record.reason is not None
    assert "of the 0.29 GiB allowed" in record.reason


def test_memory_of_a_childs_children_counts(tmp_path: Path) -> None:
    eat = "import time; eaten = bytearray(400 << 20); time.sleep(600)"
    script = f"subprocess.run([sys.executable, '-c', {eat!r}])"
    assert supervise(tmp_path, script, Limits(60.0, 300 * MIB)).outcome == "out-of-memory"


def test_a_crash_is_a_failure_that_names_the_log(tmp_path: Path) -> None:
    record = supervise(tmp_path, "print('last words', flush=True)\nos.abort()", Limits(60.0, 1024 * MIB))
    assert (record.outcome, record.phase) == ("failed", "train")
    assert record.reason is not None
    assert "SIGABRT" in record.reason
    log = Path(record.reason.partition("log: ")[2].rstrip(")"))
    assert "last words" in log.read_text()


def test_a_child_killed_by_nine_is_told_from_one_that_crashed(tmp_path: Path) -> None:
    record = supervise(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", Limits(60.0, 1024 * MIB))
    assert record.outcome == "failed"
    assert record.reason is not None
    assert "killed by signal 9 from outside" in record.reason


def test_what_a_case_said_before_it_died_is_kept(tmp_path: Path) -> None:
    script = "journal.end([0.5])\njournal.begin('predict')\nos.abort()"
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    assert record.phase == "predict"
    assert record.phases["train"].seconds == (0.5,)
    assert record.phases["train"].peak_memory_bytes


def test_an_error_that_a_case_wrote_down_is_its_reason(tmp_path: Path) -> None:
    script = "journal.write('error', outcome='out-of-memory', reason='the Java heap memory was exhausted')\nsys.exit(1)"
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    assert (record.outcome, record.phase, record.reason) == (
        "out-of-memory",
        "train",
        "the Java heap memory was exhausted",
    )


def test_the_first_error_is_the_reason(tmp_path: Path) -> None:
    script = (
        "[journal.write('error', outcome='failed', reason=why) for why in ('it broke', 'and close, too')]; sys.exit(1)"
    )
    assert supervise(tmp_path, script, Limits(60.0, 1024 * MIB)).reason == "it broke"


def test_of_a_case_that_failed_only_the_logs_stay(tmp_path: Path) -> None:
    script = "pathlib.Path(sys.argv[1], 'spill').mkdir()\nprint('said')\nsys.exit(1)"
    supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    assert sorted(path.name for path in (tmp_path / "case").iterdir()) == ["journal.jsonl", "output.log"]


def test_cpu_seconds_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    burn = "import time; end = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    script = f"subprocess.run([sys.executable, '-c', {burn!r}])\njournal.end([1.5])\ntime.sleep(0.3)\nos.abort()"
    train = supervise(tmp_path, script, Limits(60.0, 1024 * MIB)).phases["train"]
    assert train.cpu_seconds is not None
    assert train.span_seconds is not None
    # At least a part of the work was seen, and never more than one busy core can do.
    assert 0.3 < train.cpu_seconds <= train.span_seconds * 1.3


def test_a_case_dies_with_its_supervisor(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from benchmarks import supervisor
from benchmarks.cases import Case
from benchmarks.supervisor import Limits
from datasets.synthetic import Stream
folder = Path({str(tmp_path)!r}) / "case"
supervisor.run(Case("scikit-learn", "mlp", 60_000), Limits(600, {2048 * MIB}), folder, "a run")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    boss = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    journal = tmp_path / "case" / "journal.jsonl"
    while not (journal.exists() and '"train"' in journal.read_text()):
        assert boss.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(boss.pid).children(recursive=True)
    assert workers
    boss.send_signal(signal.SIGKILL)
    boss.wait()
    assert psutil.wait_procs(workers, timeout=10)[1] == []
