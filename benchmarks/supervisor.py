"""Runs one case in a process of its own: watches its time and memory from outside, ends it, says how it ended."""

from __future__ import annotations

import bisect
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import interrupts
from adapters import exit_with_parent, registry
from benchmarks.cases import LARGEST_WARMUP, Case
from benchmarks.environment import ROOT
from benchmarks.journal import Reader
from benchmarks.processes import Gpu, Sample, Tree, adopt_orphans
from benchmarks.received import Bytes, Count, Limit
from benchmarks.records import Harness, Memory, Phase, Quality, Record
from machine import probe, thread_variables

SAMPLE_S = 0.1
"""Time from one look at a case to the next: half of the shortest peak of memory that shall not be missed."""

SCORING = "quality"
"""What a case calls, in its journal, the stretch in which it scores its model: no phase, but work like one."""

BETWEEN_PHASES_S = 120.0
"""How long a case may take outside its phases: starting Python, scoring the model."""


@dataclass(frozen=True)
class Limits:
    """What a case may take: `time_s` in a call of a phase, `case_s` in all, `memory_bytes` by all its processes."""

    time_s: Limit
    memory_bytes: Bytes
    case_s: Limit = 3600.0
    rounds: Count = 3


def command(case: Case, limits: Limits, folder: Path, launch: int = 1) -> list[str]:
    """The pytest run that measures `case` and keeps its journal in `folder`."""
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
    pytest = [sys.executable, "-m", "pytest", "benchmarks", "-c", "pyproject.toml", "-s", "-q", *plugins]
    return pytest + [f"--{name}={value}" for name, value in options.items()]


def run(
    case: Case,
    limits: Limits,
    folder: Path,
    run_name: str,
    launch: int = 1,
    watch: Callable[[str | None], None] = lambda phase: None,
    argv: Sequence[str] | None = None,
) -> Record:
    """Runs a case to its end, whatever that is, and returns its record. No process of it is left when this returns.

    `folder` takes its journal and its logs; `watch` is told the phase many times a second; `argv` runs another
    command than the case's own, which is how the tests get at a process that sleeps, crashes or eats memory.
    """
    folder = folder.parent.resolve() / folder.name  # a link under its name is removed, and not what it leads to
    _remove(folder)  # of a launch that was cut off with its supervisor
    (folder / "tmp").mkdir(parents=True)
    adopt_orphans()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / "tmp"),
        # Of pytest's plugins only the one we name: the others that are installed would be imported in every case.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **thread_variables(case.threads),
    }
    story, kernel_kills = Story(Reader(folder)), _kernel_kills()
    row = registry.FRAMEWORKS.get(case.framework)
    gpu = Gpu() if row and row.device == "cuda" else None
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    began, own_cpu = time.monotonic(), time.process_time()
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            list(argv or command(case, limits, folder, launch)),
            cwd=ROOT,
            env=environment,
            # The child exits with this process: the kernel kills it, or it sees that this pipe has closed.
            preexec_fn=exit_with_parent.preexec(),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree = Tree(process.pid, gpu)
    verdict: tuple[str, str] | None = None
    try:
        while process.poll() is None and verdict is None:
            story.samples.append(tree.sample(time.monotonic()))
            story.read()
            watch(story.phase)
            verdict = over_limit(story, limits, began)
            if verdict is None:
                # Returns at once when the process ends, so that no case is charged for our sleeping.
                _wait(process, SAMPLE_S)
        ended, own_cpu = time.monotonic(), time.process_time() - own_cpu
    finally:
        with interrupts.uninterrupted():
            tree.end()
            process.stdin.close()  # type: ignore[union-attr]
            exit_code = process.wait()
    if verdict:
        ended = time.monotonic()
    story.read()
    outcome, phase, reason = conclude(story, verdict, exit_code, folder, _kernel_kills() - kernel_kills)
    for left in folder.iterdir():
        if outcome == "ok" or left.is_dir():  # of a case that did not end well, the logs stay
            _remove(left)
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
        phases=story.phases(),
        first_prediction_seconds=story.first_prediction(began) if case.rows <= LARGEST_WARMUP else None,
        wall_seconds=ended - began,
        supervisor_cpu_seconds=own_cpu,
        harness=story.harness(began, ended),
        memory=story.memory(),
        quality=msgspec.convert(story.quality, Quality) if story.quality else None,
        recipe=story.recipe,
        build=story.build,
        model_bytes=story.model_bytes,
    )


@dataclass
class Call:
    """The calls of one phase in one pass: when they began and ended, and how long each took by the case's own clock."""

    phase: str
    cold: bool
    began: float
    ended: float | None = None
    seconds: tuple[float, ...] = ()


class Story:
    """What is known of a running case: its journal so far, and the samples of its process tree."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.samples: list[Sample] = []
        self.calls: list[Call] = []
        self.error: tuple[str, str | None, str] | None = None
        self.quality: dict[str, Any] | None = None
        self.recipe: dict[str, Any] = {}
        self.build: dict[str, Any] = {}
        self.model_bytes: int | None = None

    def read(self) -> None:
        """Takes in what the case has written since."""
        for line in self._reader.new():
            match line.pop("event"), line.pop("time"):
                case "begin", at:
                    self.calls.append(Call(line["phase"], line["cold"], at))
                case "end", at:
                    self.calls[-1].ended = at
                    self.calls[-1].seconds = tuple(line["seconds"])
                case "error", _:
                    # What failed later, in the putting away, is no reason.
                    self.error = self.error or (line["outcome"], self.phase, line["reason"])
                case "model", _:
                    self.recipe, self.build, self.model_bytes = line["recipe"], line["build"], line["model_bytes"]
                case "quality", _:
                    self.quality = line

    @property
    def phase(self) -> str | None:
        """The phase that is running now, or None between phases."""
        return self.calls[-1].phase if self.calls and self.calls[-1].ended is None else None

    def phases(self) -> dict[str, Phase]:
        """Every phase that ended, with what its process tree took meanwhile."""
        phases: dict[str, Phase] = {}
        cold = {call.phase: call.seconds for call in self.calls if call.cold}
        for call in self.calls:
            if call.ended is not None and not call.cold and call.seconds:
                begin, end, peak = self._at(call.began), self._at(call.ended), self._peak(call.began, call.ended)
                phases[call.phase] = Phase(
                    seconds=call.seconds,
                    warmup_seconds=cold.get(call.phase, ()),
                    cpu_seconds=end.cpu_seconds - begin.cpu_seconds,
                    span_seconds=call.ended - call.began,
                    peak_memory_bytes=peak.memory_bytes,
                    jvm_cpu_seconds=end.jvm_cpu_seconds - begin.jvm_cpu_seconds,
                    jvm_memory_bytes=peak.jvm_memory_bytes,
                    gpu_memory_bytes=peak.gpu_memory_bytes,
                )
        return phases

    def memory(self) -> Memory | None:
        """The three figures of a case that came to the end of its training."""
        calls = {call.phase: call for call in self.calls if call.ended is not None and not call.cold}
        if not {"start", "load", "train"} <= calls.keys():
            return None
        start, load, train = (calls[phase] for phase in ("start", "load", "train"))
        return Memory(
            self._at(start.ended or 0.0).memory_bytes,
            self._at(load.ended or 0.0).memory_bytes,
            self._peak(train.began, train.ended or 0.0).memory_bytes,
        )

    def harness(self, began: float, ended: float) -> Harness | None:
        """Where the wall seconds went that no phase took; None of a case that did not end its last phase."""
        if not self.calls or any(call.ended is None for call in self.calls):
            return None
        spans = [(call, (call.ended or 0.0) - call.began) for call in self.calls]
        scoring = sum(span for call, span in spans if call.phase == SCORING)
        rounds = sum(span - sum(call.seconds) for call, span in spans if call.phase != SCORING)
        first, last = self.calls[0].began, self.calls[-1].ended or 0.0
        between = last - first - sum(span for _, span in spans)
        return Harness(first - began, rounds, scoring, between, ended - last)

    def _at(self, moment: float) -> Sample:
        """What the tree took at a moment, on the line between the samples before and after it."""
        after = bisect.bisect([sample.time for sample in self.samples], moment)
        if after == len(self.samples):
            return self.samples[-1] if self.samples else Sample(moment, 0, 0.0)
        right = self.samples[after]
        left = self.samples[after - 1] if after else Sample(right.time - SAMPLE_S, 0, 0.0)
        share = max(0.0, (moment - left.time) / (right.time - left.time))
        pairs = zip(astuple(left), astuple(right), strict=True)
        time, memory, cpu, jvm_memory, jvm_cpu, gpu = (a + share * (b - a) for a, b in pairs)
        return Sample(time, round(memory), cpu, round(jvm_memory), jvm_cpu, round(gpu))

    def _peak(self, began: float, ended: float) -> Sample:
        """The sample with the most memory, from the last before `began` to the first after `ended`."""
        times = [sample.time for sample in self.samples]
        near = self.samples[max(bisect.bisect(times, began) - 1, 0) : bisect.bisect(times, ended) + 1]
        return max(near, key=lambda sample: sample.memory_bytes, default=Sample(began, 0, 0.0))

    def first_prediction(self, began: float) -> float | None:
        """Wall seconds from the start of the process to the first prediction of one flower, in the cold pass."""
        ends = [call.ended for call in self.calls if call.phase == "predict_one" and call.cold and call.ended]
        return ends[0] - began if ends else None


def over_limit(story: Story, limits: Limits, began: float) -> tuple[str, str] | None:
    """The outcome and reason of a case that is beyond a limit now, or None."""
    now = story.samples[-1]
    if now.memory_bytes > limits.memory_bytes:
        taken, allowed = now.memory_bytes / 2**30, limits.memory_bytes / 2**30
        return "out-of-memory", f"the processes took {taken:.2f} GiB of the {allowed:.2f} GiB allowed"
    if now.time - began > limits.case_s:
        return "timeout", f"the case took longer than the {limits.case_s:g} s allowed in all"
    call = story.calls[-1] if story.calls else None
    if call and call.ended is None and call.phase != SCORING:
        # The conftest begins no further round that the limit could cut, so the first one is what is too long.
        if now.time - call.began > limits.time_s:
            return "timeout", f"{call.phase} took longer than the {limits.time_s:g} s allowed"
    else:
        since = call.ended or call.began if call else began
        allowance = max(BETWEEN_PHASES_S, limits.time_s)
        if now.time - since > allowance:
            doing = "scoring the model" if call and call.phase == SCORING else "getting from one phase to the next"
            return "timeout", f"{doing} took longer than {allowance:g} s"
    return None


def conclude(
    story: Story, verdict: tuple[str, str] | None, exit_code: int, folder: Path, kernel_kills: int = 0
) -> tuple[str, str | None, str | None]:
    """Outcome, phase and reason of a case whose process has ended.

    `kernel_kills` is how often the kernel's out-of-memory killer struck meanwhile. It often takes the JVM, and Python
    then only knows that nobody answers.
    """
    if verdict:
        return verdict[0], story.phase, verdict[1]
    if kernel_kills and (exit_code == -signal.SIGKILL or (story.error and story.error[0] == "failed")):
        phase = story.error[1] if story.error else story.phase
        return "out-of-memory", phase, "the system was short of memory, and its kernel killed a process of the case"
    if story.error:
        return story.error
    if exit_code == 0 and "close" in [call.phase for call in story.calls if call.ended]:
        return "ok", None, None
    log = folder / "output.log"
    if exit_code == -signal.SIGKILL:
        # Nobody here sends KILL without a verdict.
        return "failed", story.phase, f"the process was killed by signal 9 from outside (log: {log})"
    how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    return "failed", story.phase, f"the process ended with {how} before the case did (log: {log})"


def _kernel_kills() -> int:
    """Return how often the kernel's out-of-memory killer has struck since boot; 0 where the kernel does not say."""
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
