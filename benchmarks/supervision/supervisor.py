"""Run one case in its own process: sample its resources from outside, end it at a limit, record the outcome."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import interrupts
from adapters import exit_with_parent, registry
from benchmarks.case_process.events import EventReader
from benchmarks.cases import LARGEST_WARMUP, Case, Limits
from benchmarks.results.records import Outcome, Record
from benchmarks.supervision.enforce_limits import exceeded
from benchmarks.supervision.process_tree import Gpu, Tree, adopt_orphans
from benchmarks.supervision.timeline import SAMPLE_S, Timeline
from machine import ROOT, bound_cores, pin, probe, thread_variables


def command(case: Case, limits: Limits, folder: Path, launch: int = 1) -> list[str]:
    """Return the pytest command that measures `case` and writes its event log into `folder`."""
    options = {
        "framework": case.framework,
        "model": case.model,
        "rows": case.rows,
        "track": case.track,
        "threads": case.threads,
        "seed": case.seed,
        "launch": launch,
        "rounds": limits.rounds,
        "time-limit": limits.time_s,
        "memory-limit": f"{limits.memory_bytes / 2**20}MiB",
        "case-folder": folder,
    }
    row = registry.FRAMEWORKS.get(case.framework)
    if row and row.file:
        options["adapter"] = row.file
    plugins = ["-p", "pytest_benchmark.plugin", "-p", "no:cacheprovider"]
    pytest = [sys.executable, "-m", "pytest", "benchmarks/case_process", "-c", "pyproject.toml", "-s", "-q", *plugins]
    return pytest + [f"--{name}={value}" for name, value in options.items()]


def run(
    case: Case,
    limits: Limits,
    folder: Path,
    run_name: str,
    launch: int = 1,
    on_phase: Callable[[str | None], None] = lambda phase: None,
    argv: Sequence[str] | None = None,
) -> Record:
    """Run a case and return its record. No process of the case is left when this returns.

    `folder` gets the event log and the other logs. `on_phase` is called several times a second with the running phase.
    `argv` replaces the command of the case; tests use it for processes that sleep, crash or exhaust memory.
    """
    folder = folder.parent.resolve() / folder.name  # a symbolic link under this name is removed, not followed
    _remove(folder)  # left by a launch whose supervisor was killed
    (folder / "tmp").mkdir(parents=True)
    adopt_orphans()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / "tmp"),
        # Do not import the other pytest plugins that are installed.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **thread_variables(case.threads),
    }
    cores = bound_cores(case.threads)
    timeline, kernel_kills = Timeline(EventReader(folder), len(cores) if cores else None), _kernel_kills()
    row = registry.FRAMEWORKS.get(case.framework)
    gpu = Gpu() if row and row.device == "cuda" else None
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    began, cpu_seconds = time.monotonic(), time.process_time()
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            list(argv or command(case, limits, folder, launch)),
            cwd=ROOT,
            env=environment,
            # The child exits with this process: the kernel kills it, or it sees that this pipe is closed.
            preexec_fn=_before_exec(case.threads),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree = Tree(process.pid, cores, gpu)
    limit: tuple[Outcome, str] | None = None
    try:
        while process.poll() is None and limit is None:
            timeline.samples.append(tree.sample(time.monotonic()))
            timeline.read()
            on_phase(timeline.phase)
            limit = exceeded(timeline, limits, began)
            if limit is None:
                # Returns at once when the process ends, so that no case is charged for this wait.
                _wait(process, SAMPLE_S)
        ended, cpu_seconds = time.monotonic(), time.process_time() - cpu_seconds
    finally:
        with interrupts.uninterrupted():
            tree.end()
            process.stdin.close()  # type: ignore[union-attr]
            exit_code = process.wait()
    if limit:
        ended = time.monotonic()
    timeline.read()
    outcome, phase, reason = conclude(timeline, limit, exit_code, folder, _kernel_kills() - kernel_kills)
    for path in folder.iterdir():
        if outcome == "ok" or path.is_dir():  # keep the logs of a failed case
            _remove(path)
    with suppress(OSError):
        folder.rmdir()
    return Record(
        run=run_name,
        case=case,
        outcome=outcome,
        launch=launch,
        phase=phase,
        reason=reason,
        started=started,
        phases=timeline.phases(began),
        first_prediction_seconds=timeline.first_prediction(began) if case.rows <= LARGEST_WARMUP else None,
        wall_seconds=ended - began,
        supervisor_cpu_seconds=cpu_seconds,
        harness=timeline.harness(began, ended),
        memory=timeline.memory(),
        quality=timeline.quality,
        recipe=timeline.recipe,
        build=timeline.build,
        model_bytes=timeline.model_bytes,
    )


def conclude(
    timeline: Timeline, limit: tuple[Outcome, str] | None, exit_code: int, folder: Path, kernel_kills: int = 0
) -> tuple[Outcome, str | None, str | None]:
    """Return the outcome, phase and reason of a case whose process has ended.

    `limit` is the outcome and the reason if the supervisor ended the case. `kernel_kills` counts how often the kernel's
    out-of-memory killer ran during the case. It often kills the JVM, and Python then only sees a closed connection.
    """
    if limit:
        return limit[0], timeline.phase, limit[1]
    if kernel_kills and (exit_code == -signal.SIGKILL or (timeline.failed and timeline.failed[0] == "failed")):
        phase = timeline.failed[1] if timeline.failed else timeline.phase
        return "out-of-memory", phase, "the system ran out of memory, and its kernel killed a process of the case"
    if timeline.failed:
        return timeline.failed
    if exit_code == 0 and "close" in [call.phase for call in timeline.calls if call.ended]:
        return "ok", None, None
    log = folder / "output.log"
    if exit_code == -signal.SIGKILL:  # the supervisor sends KILL only at a limit
        return "failed", timeline.phase, f"another program killed the process with signal 9 (log: {log})"
    how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    return "failed", timeline.phase, f"the process ended early with {how} (log: {log})"


def _before_exec(threads: int) -> Callable[[], None]:
    """Return what the child does before it becomes the case: bind it to its cores, and let it exit with this process.

    Bound so early, all threads of its libraries stay on these cores.
    """
    exit_with_this_process = exit_with_parent.preexec()

    def prepare() -> None:
        pin(threads)
        if exit_with_this_process:
            exit_with_this_process()

    return prepare


def _kernel_kills() -> int:
    """Return how often the kernel's out-of-memory killer has run since boot, or 0 if the kernel does not report it."""
    counters = probe(lambda: Path("/proc/vmstat").read_text().splitlines()) or []
    return probe(lambda: sum(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))) or 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
