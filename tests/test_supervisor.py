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

from adapters import registry
from benchmarks import preparation
from benchmarks.cases import Case
from benchmarks.run_folder.records import PHASES, Record
from benchmarks.supervision import supervisor
from benchmarks.supervision.process_tree import TELLS_SHARED
from benchmarks.supervision.supervisor import Limits
from machine import usable_cores
from tests.conftest import ROOT, missing

MIB = 1 << 20
CASE = Case("baseline", "logistic", 150)
BEGIN_TRAIN = """
import os, pathlib, signal, subprocess, sys, time
from benchmarks.case_process.events import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
journal.begin("train")
"""


def supervise(folder: Path, script: str, limits: Limits) -> Record:
    """The record of a case whose process runs `script`."""
    argv = [sys.executable, "-c", BEGIN_TRAIN + script, str(folder / "case")]
    return supervisor.run(CASE, limits, folder / "case", "a run", argv=argv)


def measure(case: Case, limits: Limits, folder: Path, argv: list[str] | None = None) -> Record:
    """The record of a real case, whose data is made before."""
    preparation.make(case.rows, case.seed)
    return supervisor.run(case, limits, folder, "a run", argv=argv)


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


@pytest.mark.parametrize("phase", PHASES)
def test_a_real_case_is_ended_in_whichever_phase_it_hangs(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
    monkeypatch.setenv("HINDER", f"{phase} sleep")
    record = supervisor.run(CASE, Limits(1.0, 1024 * MIB), tmp_path / "case", "a run")
    assert (record.outcome, record.phase) == ("timeout", phase)
    assert record.reason == f"{phase} took longer than the 1 s allowed"
    assert record.wall_seconds is not None
    assert record.wall_seconds < 60


def test_a_case_past_the_limit_of_all_its_phases_together_is_a_timeout(tmp_path: Path) -> None:
    script = "journal.end([0.1])\njournal.begin('predict')\ntime.sleep(600)"
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB, case_s=1.0))
    assert (record.outcome, record.phase) == ("timeout", "predict")
    assert record.reason == "the case took longer than the 1 s allowed in all"


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
    assert train.jvm_cpu_seconds == 0.0


def test_a_peak_of_200_ms_in_a_child_is_seen(tmp_path: Path) -> None:
    eat = "import time; time.sleep(1); eaten = bytearray(b'x') * (300 << 20); time.sleep(0.2); del eaten; time.sleep(1)"
    script = f"subprocess.run([sys.executable, '-c', {eat!r}])\njournal.end([2.2])\nos.abort()"
    train = supervise(tmp_path, script, Limits(60.0, 1024 * MIB)).phases["train"]
    assert train.peak_memory_bytes is not None
    assert train.peak_memory_bytes > 300 * MIB


@pytest.mark.skipif(not TELLS_SHARED, reason="this system does not say which memory is shared")
def test_pages_that_parent_and_child_share_are_counted_once(tmp_path: Path) -> None:
    script = """
shared = bytearray(b"x") * (300 << 20)
child = os.fork()
if child:
    os.waitpid(child, 0)
    journal.end([3.0])
    os.abort()
time.sleep(3)
os._exit(0)
"""
    train = supervise(tmp_path, script, Limits(60.0, 2048 * MIB)).phases["train"]
    assert train.peak_memory_bytes is not None
    assert 300 * MIB < train.peak_memory_bytes < 500 * MIB


@pytest.mark.parametrize(("framework", "rows", "given"), [("h2o", 1_000_000, 60), ("spark", 150, 700)])
def test_an_exhausted_java_heap_is_told_from_our_limit(
    framework: str, rows: int, given: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    if framework == "spark":  # which spills to the disk whatever it can
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
        monkeypatch.setenv("HINDER", "train heap")
    case = Case(framework, "mlp", rows)
    argv = supervisor.command(case, Limits(300.0, given * MIB), (tmp_path / "case").resolve())
    record = measure(case, Limits(300.0, 8192 * MIB), tmp_path / "case", argv)
    assert record.outcome == "out-of-memory", record.reason
    assert record.reason is not None
    assert record.reason.startswith("the Java heap memory was exhausted, which is sized from the limit of 0.")


def test_phases_and_the_harness_add_up_to_the_time_seen_from_outside(tmp_path: Path) -> None:
    preparation.make(20_000, 0)
    began = time.monotonic()
    record = supervisor.run(Case("scikit-learn", "mlp", 20_000), Limits(600, 4096 * MIB), tmp_path / "case", "a run")
    outside = time.monotonic() - began
    assert record.outcome == "ok", record.reason
    assert record.wall_seconds is not None
    assert record.harness is not None
    phases = sum(sum(phase.seconds) + sum(phase.warmup_seconds) for phase in record.phases.values())
    harness = vars(record.harness)
    assert all(seconds >= 0 for seconds in harness.values()), harness
    assert phases + sum(harness.values()) == pytest.approx(record.wall_seconds, rel=0.02)
    # The test's clock also sees the supervisor make sure that no process is left.
    assert record.wall_seconds <= outside


@pytest.mark.parametrize("framework", [name for name in registry.FRAMEWORKS if name != "baseline"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_framework_uses_the_threads_that_it_was_given(framework: str, threads: int, tmp_path: Path) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    if threads > usable_cores():
        pytest.skip(f"there are {usable_cores()} cores to use")
    # As large as gives a training of a second or so, which the samples from outside can tell.
    java = registry.FRAMEWORKS[framework].java
    case = Case(framework, "logistic" if java else "mlp", 100_000 if java else 2_000_000, threads=threads)
    record = measure(case, Limits(600, 8192 * MIB, rounds=1), tmp_path / "case")
    assert record.outcome == "ok", record.reason
    train, memory = record.phases["train"], record.memory
    assert train.cpu_seconds is not None
    assert train.span_seconds is not None
    assert train.cpu_seconds / train.span_seconds <= (1.2 if threads == 1 else 2.3)
    # The JVM is told apart from the Python that holds it.
    assert bool(train.jvm_memory_bytes) is bool(train.jvm_cpu_seconds) is java
    assert (train.jvm_memory_bytes or 0) < (train.peak_memory_bytes or 0)
    assert memory is not None
    assert 50 * MIB < memory.baseline_bytes <= memory.data_bytes + 100 * MIB
    assert train.peak_memory_bytes == memory.training_bytes


def test_a_case_dies_with_its_supervisor(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from benchmarks.supervision import supervisor
from benchmarks.cases import Case
from benchmarks.supervision.supervisor import Limits
folder = Path({str(tmp_path)!r}) / "case"
supervisor.run(Case("scikit-learn", "mlp", 4_000_000), Limits(600, {2048 * MIB}), folder, "a run")
"""
    preparation.make(4_000_000, 0)
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
