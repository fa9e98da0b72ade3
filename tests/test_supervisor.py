"""The supervisor records real processes that sleep, use memory, crash, fork and are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adapters import registry
from benchmarks import case_data
from benchmarks.case_process.events import FILE as EVENTS
from benchmarks.cases import Case, Limits
from benchmarks.results.records import LARGEST_OTHERS_SHARE, PHASES, Phase, Record
from benchmarks.supervision import supervisor
from benchmarks.supervision.process_tree import TELLS_SHARED, busy_seconds
from machine import bound_cores, usable_cores
from tests.conftest import ROOT, missing

MIB = 1 << 20
CASE = Case("baseline", "logistic", 150)
BEGIN_TRAIN = """
import os, pathlib, signal, subprocess, sys, time
from benchmarks.case_process.events import EventLog
events = EventLog(pathlib.Path(sys.argv[1]))
events.begin("train")
"""


def supervise(folder: Path, script: str, limits: Limits) -> Record:
    """Return the record of a case whose process runs `script`, which has `events` and is in the phase train."""
    argv = [sys.executable, "-c", BEGIN_TRAIN + script, str(folder / "case")]
    return supervisor.run(CASE, limits, folder / "case", "a run", argv=argv)


def measure(case: Case, limits: Limits, folder: Path, argv: list[str] | None = None) -> Record:
    """Make the data of a real case, run it and return its record."""
    case_data.make(case.rows, case.seed)
    return supervisor.run(case, limits, folder, "a run", argv=argv)


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Fail if a test leaves a process behind."""
    before = set(descendants())
    yield
    assert [child for child in descendants() if child not in before] == []


def test_a_phase_beyond_its_time_limit_is_a_timeout(tmp_path: Path) -> None:
    record = supervise(tmp_path, "time.sleep(600)", Limits(1.0, 1024 * MIB))
    assert (record.outcome, record.phase) == ("timeout", "train")
    assert record.reason == "train took longer than the time limit of 1 s"
    assert record.wall_seconds is not None
    assert record.wall_seconds < 60


@pytest.mark.parametrize("phase", PHASES)
def test_a_real_case_is_ended_in_every_phase_in_which_it_hangs(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
    monkeypatch.setenv("HINDER", f"{phase} sleep")
    record = measure(CASE, Limits(1.0, 1024 * MIB), tmp_path / "case")
    assert (record.outcome, record.phase) == ("timeout", phase)
    assert record.reason == f"{phase} took longer than the time limit of 1 s"
    assert record.wall_seconds is not None
    assert record.wall_seconds < 60


def test_a_case_beyond_its_time_limit_is_a_timeout(tmp_path: Path) -> None:
    script = "events.end([0.1])\nevents.begin('predict')\ntime.sleep(600)"
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB, case_s=1.0))
    assert (record.outcome, record.phase) == ("timeout", "predict")
    assert record.reason == "the case took longer than its limit of 1 s"


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    assert supervise(tmp_path, script, Limits(1.0, 1024 * MIB)).outcome == "timeout"


def test_a_grandchild_that_outlives_its_parent_is_ended(tmp_path: Path) -> None:
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


def test_memory_beyond_the_limit_is_out_of_memory_and_the_reason_has_both_numbers(tmp_path: Path) -> None:
    script = "kept = []\nwhile True:\n    kept.append(bytearray(20 << 20))\n    time.sleep(0.02)"
    record = supervise(tmp_path, script, Limits(60.0, 300 * MIB))
    assert (record.outcome, record.phase) == ("out-of-memory", "train")
    assert record.reason is not None
    assert re.fullmatch(r"the processes used \d+\.\d\d GiB of the 0\.29 GiB allowed", record.reason)


def test_the_memory_of_a_grandchild_counts(tmp_path: Path) -> None:
    use_memory = "import time; kept = bytearray(400 << 20); time.sleep(600)"
    script = f"subprocess.run([sys.executable, '-c', {use_memory!r}])"
    assert supervise(tmp_path, script, Limits(60.0, 300 * MIB)).outcome == "out-of-memory"


def test_the_reason_of_a_crash_names_the_signal_and_the_log(tmp_path: Path) -> None:
    record = supervise(tmp_path, "print('output before the crash', flush=True)\nos.abort()", Limits(60.0, 1024 * MIB))
    assert (record.outcome, record.phase) == ("failed", "train")
    assert record.reason is not None
    assert "SIGABRT" in record.reason
    log = Path(record.reason.partition("log: ")[2].rstrip(")"))
    assert "output before the crash" in log.read_text()


def test_a_process_that_another_program_killed_is_not_reported_as_a_crash(tmp_path: Path) -> None:
    record = supervise(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", Limits(60.0, 1024 * MIB))
    assert record.outcome == "failed"
    assert record.reason is not None
    assert "another program killed the process with signal 9" in record.reason


def test_the_phases_that_ended_before_a_crash_are_kept(tmp_path: Path) -> None:
    script = "events.end([0.5])\nevents.begin('predict')\nos.abort()"
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    assert record.phase == "predict"
    assert record.phases["train"].seconds == (0.5,)
    assert record.phases["train"].peak_memory_bytes


def test_the_reason_that_a_case_logs_is_the_reason_in_its_record(tmp_path: Path) -> None:
    script = "events.fail('out-of-memory', 'the Java heap memory was exhausted')\nsys.exit(1)"
    record = supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    assert (record.outcome, record.phase, record.reason) == (
        "out-of-memory",
        "train",
        "the Java heap memory was exhausted",
    )


def test_the_first_failure_that_a_case_logs_is_the_reason(tmp_path: Path) -> None:
    script = "events.fail('failed', 'training failed')\nevents.fail('failed', 'closing failed')\nsys.exit(1)"
    assert supervise(tmp_path, script, Limits(60.0, 1024 * MIB)).reason == "training failed"


def test_only_the_logs_of_a_failed_case_are_kept(tmp_path: Path) -> None:
    script = "pathlib.Path(sys.argv[1], 'spill').mkdir()\nprint('output')\nsys.exit(1)"
    supervise(tmp_path, script, Limits(60.0, 1024 * MIB))
    assert sorted(path.name for path in (tmp_path / "case").iterdir()) == [EVENTS, "output.log"]


def test_cpu_seconds_include_all_processes_of_the_case(tmp_path: Path) -> None:
    burn = "import time; end = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    script = f"subprocess.run([sys.executable, '-c', {burn!r}])\nevents.end([1.5])\ntime.sleep(0.3)\nos.abort()"
    train = supervise(tmp_path, script, Limits(60.0, 1024 * MIB)).phases["train"]
    assert train.cpu_seconds is not None
    assert train.span_seconds is not None
    # Samples see at least a part of the work, and not more than one busy core can do.
    assert 0.3 < train.cpu_seconds <= train.span_seconds * 1.3
    assert train.jvm_cpu_seconds == 0.0


def test_a_memory_peak_of_200_ms_in_a_child_is_measured(tmp_path: Path) -> None:
    # The supervisor searches for new processes every few seconds if the machine is busy.
    peak = "import time; time.sleep(5); kept = bytearray(b'x') * (300 << 20); time.sleep(0.2); del kept; time.sleep(1)"
    script = f"subprocess.run([sys.executable, '-c', {peak!r}])\nevents.end([6.2])\nos.abort()"
    train = supervise(tmp_path, script, Limits(60.0, 1024 * MIB)).phases["train"]
    assert train.peak_memory_bytes is not None
    assert train.peak_memory_bytes > 300 * MIB


def measured_on_one_core(folder: Path, core: int, programs: int) -> Phase:
    """Return the phase of a case that is busy on a core for 2 s while other busy programs use the same core."""
    bind = f"import os; os.sched_setaffinity(0, {{{core}}})\n"
    work = "end = time.monotonic() + 2.0\nwhile time.monotonic() < end: pass\n"
    others = [subprocess.Popen([sys.executable, "-c", f"{bind}while True: pass"]) for _ in range(programs)]
    try:
        record = supervise(folder, f"{bind}{work}events.end([2.0])\nos.abort()", Limits(60.0, 1024 * MIB))
    finally:
        for other in others:
            other.kill()
            other.wait()
    return record.phases["train"]


@pytest.fixture
def core() -> int:
    """Return the core of a case with one thread."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("the system does not bind processes to cores")
    cores = bound_cores(1)
    assert cores
    return cores[0]


def test_a_phase_that_shares_its_core_with_busy_programs_is_flagged(core: int, tmp_path: Path) -> None:
    phase = measured_on_one_core(tmp_path, core, programs=2)
    assert phase.flagged
    assert phase.others_share is not None
    assert phase.others_share > 0.2
    if phase.waited_seconds is not None:  # the kernel reports how long threads waited
        assert phase.waited_seconds > 0.1


def test_a_phase_on_an_idle_core_is_not_flagged(core: int, tmp_path: Path) -> None:
    phases: list[Phase] = []
    for attempt in range(3):  # a program may start during the phase
        before = busy_seconds([core])
        time.sleep(1.0)
        if busy_seconds([core]) - before < LARGEST_OTHERS_SHARE / 2:
            phases.append(measured_on_one_core(tmp_path / f"{attempt}", core, programs=0))
            if not phases[-1].flagged:
                return
    if not phases:
        pytest.skip("other programs use the core; run this test on an idle machine")
    pytest.fail(f"flagged on an idle core: other programs took {[phase.others_share for phase in phases]} of it")


@pytest.mark.skipif(not TELLS_SHARED, reason="the system does not report which memory is shared")
def test_memory_that_parent_and_child_share_is_counted_once(tmp_path: Path) -> None:
    script = """
shared = bytearray(b"x") * (300 << 20)
child = os.fork()
if child:
    os.waitpid(child, 0)
    events.end([3.0])
    os.abort()
time.sleep(3)
os._exit(0)
"""
    train = supervise(tmp_path, script, Limits(60.0, 2048 * MIB)).phases["train"]
    assert train.peak_memory_bytes is not None
    assert 300 * MIB < train.peak_memory_bytes < 500 * MIB


@pytest.mark.parametrize(("framework", "rows", "given"), [("h2o", 1_000_000, 60), ("spark", 150, 700)])
def test_an_exhausted_java_heap_is_distinguished_from_the_memory_limit(
    framework: str, rows: int, given: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    if framework == "spark":  # would write to the disk instead
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
        monkeypatch.setenv("HINDER", "train heap")
    case = Case(framework, "mlp", rows)
    argv = supervisor.command(case, Limits(300.0, given * MIB), (tmp_path / "case").resolve())
    record = measure(case, Limits(300.0, 8192 * MIB), tmp_path / "case", argv)
    assert record.outcome == "out-of-memory", record.reason
    assert record.reason is not None
    assert record.reason.startswith("the Java heap memory was exhausted (its size is based on the limit of 0.")


def test_the_seconds_of_phases_and_harness_add_up_to_the_wall_time(tmp_path: Path) -> None:
    case_data.make(20_000, 0)
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
    # The test also measures how the supervisor searches for processes that are left.
    assert record.wall_seconds <= outside


@pytest.mark.parametrize("framework", [name for name in registry.FRAMEWORKS if name != "baseline"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_framework_uses_no_more_threads_than_it_was_given(framework: str, threads: int, tmp_path: Path) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    if threads > usable_cores():
        pytest.skip(f"this process may use {usable_cores()} cores")
    # Training takes about a second, which is long enough for the samples.
    java = registry.FRAMEWORKS[framework].java
    case = Case(framework, "logistic" if java else "mlp", 100_000 if java else 2_000_000, threads=threads)
    record = measure(case, Limits(600, 8192 * MIB, rounds=1), tmp_path / "case")
    assert record.outcome == "ok", record.reason
    train, memory = record.phases["train"], record.memory
    assert train.cpu_seconds is not None
    assert train.span_seconds is not None
    assert train.cpu_seconds / train.span_seconds <= (1.2 if threads == 1 else 2.3)
    # The values of the JVM are separate from those of the Python process.
    assert bool(train.jvm_memory_bytes) is bool(train.jvm_cpu_seconds) is java
    assert (train.jvm_memory_bytes or 0) < (train.peak_memory_bytes or 0)
    assert memory is not None
    assert 50 * MIB < memory.baseline_bytes <= memory.data_bytes + 100 * MIB
    assert train.peak_memory_bytes == memory.training_bytes


def test_a_case_exits_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from benchmarks.cases import Case, Limits
from benchmarks.supervision import supervisor
folder = Path({str(tmp_path)!r}) / "case"
supervisor.run(Case("scikit-learn", "mlp", 4_000_000), Limits(600, {2048 * MIB}), folder, "a run")
"""
    case_data.make(4_000_000, 0)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    log = tmp_path / "case" / EVENTS
    while not (log.exists() and '"train"' in log.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert workers
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs(workers, timeout=10)[1] == []
