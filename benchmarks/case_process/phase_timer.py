"""The clock: time one phase with pytest-benchmark, and log its beginning and end. No other file times a phase."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.case_process.events import EventLog

SHORT_CALL_S = {"load": 2.0, "train": 2.0, "predict": 2.0, "save": 0.25, "restore": 0.25}
"""A phase is repeated only if its calls are shorter than this. A longer phase has one value per launch."""

ONE_FLOWER_CALLS = 200
ONE_FLOWER_S = 1.0
FEWEST_ONE_FLOWER_CALLS = 100
"""A 99th percentile needs this many values. Further calls stop after ONE_FLOWER_S seconds."""


class _Stop(BaseException):
    """Signal to end the repeats of a phase. It is not an Exception, which pytest-benchmark would report as an error."""


class Timer:
    """A timer for the phases of one test."""

    def __init__(self, benchmark: BenchmarkFixture, events: EventLog, time_limit_s: float, rounds: int) -> None:
        self._benchmark = benchmark
        self._events = events
        self._time_limit_s = time_limit_s
        self._rounds = rounds

    def once(self, phase: str, work: Callable[[], object]) -> None:
        """Time a single call, which may include first-time costs."""
        self._run(phase, work, lambda: None, 1, lambda values: False)

    def cold(self, phase: str, work: Callable[[], object], before: Callable[[], None]) -> None:
        """Time the first call of a phase, on other data than the measured calls."""
        self._benchmark.group = "cold"
        self._run(phase, work, before, 1, lambda values: False, cold=True)

    def repeated(self, phase: str, work: Callable[[], object], before: Callable[[], None]) -> None:
        """Time the repeats of a phase. A call that takes SHORT_CALL_S or longer is not repeated."""
        self._run(phase, work, before, self._rounds, lambda values: min(values) >= SHORT_CALL_S[phase])

    def one_flower(self, work: Callable[[], object]) -> None:
        """Time many predictions of one flower, because their slowest calls matter."""

        def enough(values: list[float]) -> bool:
            return len(values) >= FEWEST_ONE_FLOWER_CALLS and sum(values) > ONE_FLOWER_S

        self._run("predict_one", work, lambda: None, ONE_FLOWER_CALLS, enough)

    def _run(
        self,
        phase: str,
        work: Callable[[], object],
        before: Callable[[], None],
        rounds: int,
        enough: Callable[[list[float]], bool],
        cold: bool = False,
    ) -> None:
        began = time.monotonic()

        def setup() -> None:
            values = self._values()
            # The limit is for one call, but the supervisor sees all repeats as one. Start none that could exceed it.
            if values and (enough(values) or time.monotonic() - began + 2 * max(values) > self._time_limit_s):
                raise _Stop
            before()

        self._events.begin(phase, cold)
        with contextlib.suppress(_Stop):
            self._benchmark.pedantic(work, setup=setup, rounds=rounds)  # type: ignore[no-untyped-call]
        self._events.end(self._values())

    def _values(self) -> list[float]:
        return list(self._benchmark.stats.stats.data) if self._benchmark.stats else []
