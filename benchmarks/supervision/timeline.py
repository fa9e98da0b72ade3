"""The timeline of a case: its events, and the samples of its process tree, joined by time."""

from __future__ import annotations

import bisect
from dataclasses import astuple, dataclass
from typing import Any

from benchmarks.case_process.events import (
    Event,
    EventReader,
    Failed,
    ModelSaved,
    PhaseBegan,
    PhaseEnded,
    Scored,
)
from benchmarks.results.records import Harness, Memory, Outcome, Phase, Quality
from benchmarks.supervision.process_tree import Sample

SAMPLE_S = 0.1
"""Seconds between two samples: half the length of the shortest memory peak that must be detected."""

SCORING = "quality"
"""Name under which a case logs the scoring of its model, which is not a phase."""

CONTENTION_WINDOW_S = 0.5
"""The shortest window around a phase over which the CPU time of other programs is measured. The kernel counts in ticks
of 10 ms. In a shorter window, one tick would be more than 1 % of two cores."""


@dataclass
class Call:
    """The repeats of one phase in one pass. `seconds` are by the clock of the case, one value per repeat."""

    phase: str
    cold: bool
    began: float
    ended: float | None = None
    seconds: tuple[float, ...] = ()
    waited_seconds: float | None = None
    involuntary_switches: int | None = None


class Timeline:
    """The events and samples of a running case. Times are those of the monotonic clock."""

    def __init__(self, reader: EventReader, cores: int | None) -> None:
        """`cores` is the number of cores to which the case is bound, or None if the system cannot bind it."""
        self._reader = reader
        self._cores = cores
        self.samples: list[Sample] = []
        self.calls: list[Call] = []
        self.failed: tuple[Outcome, str | None, str] | None = None
        self.quality: Quality | None = None
        self.recipe: dict[str, Any] = {}
        self.build: dict[str, Any] = {}
        self.model_bytes: int | None = None

    def read(self) -> None:
        """Add the events that the case has written since the last call."""
        for event in self._reader.new():
            self._add(event)

    def _add(self, event: Event) -> None:
        match event:
            case PhaseBegan():
                self.calls.append(Call(event.phase, event.cold, event.time))
            case PhaseEnded():
                if self.phase != event.phase:  # the line of its beginning is incomplete
                    return
                call = self.calls[-1]
                call.ended, call.seconds = event.time, event.seconds
                call.waited_seconds, call.involuntary_switches = event.waited_seconds, event.involuntary_switches
            case ModelSaved():
                self.recipe, self.build, self.model_bytes = event.recipe, event.build, event.model_bytes
            case Scored():
                self.quality = event.quality
            case Failed():  # the first reason counts: later ones are failures of the clean-up
                self.failed = self.failed or (event.outcome, self.phase, event.reason)

    @property
    def phase(self) -> str | None:
        """The phase that is running now, or None between phases."""
        return self.calls[-1].phase if self.calls and self.calls[-1].ended is None else None

    def phases(self, began: float) -> dict[str, Phase]:
        """Return every phase that has ended, with the resources that the process tree used during it.

        `began` is the time at which the process was started.
        """
        cold = {call.phase: call.seconds for call in self.calls if call.cold}
        phases: dict[str, Phase] = {}
        for call in self.calls:
            if call.ended is None or call.cold or not call.seconds:
                continue
            begin, end, peak = self._at(call.began), self._at(call.ended), self._peak(call.began, call.ended)
            phases[call.phase] = Phase(
                seconds=call.seconds,
                warmup_seconds=cold.get(call.phase, ()),
                cpu_seconds=max(end.cpu_seconds - begin.cpu_seconds, 0.0),
                span_seconds=call.ended - call.began,
                peak_memory_bytes=peak.memory_bytes,
                jvm_cpu_seconds=max(end.jvm_cpu_seconds - begin.jvm_cpu_seconds, 0.0),
                jvm_memory_bytes=peak.jvm_memory_bytes,
                gpu_memory_bytes=peak.gpu_memory_bytes,
                began_seconds=max(call.began - began, 0.0),
                others_share=self._others_share(call.began, call.ended),
                waited_seconds=call.waited_seconds,
                involuntary_switches=call.involuntary_switches,
                pressure_seconds=max(end.pressure_seconds - begin.pressure_seconds, 0.0)
                if end.pressure_seconds
                else None,
            )
        return phases

    def _others_share(self, began: float, ended: float) -> float | None:
        """Return the CPU time of other programs on the cores of the case, as a share of these cores' time."""
        if self._cores is None or len(self.samples) < 2 or not self.samples[-1].busy_seconds:
            return None  # the system does not report it
        extra = max(CONTENTION_WINDOW_S - (ended - began), 0.0) / 2
        first, last = self.samples[0].time, self.samples[-1].time
        began, ended = max(began - extra, first), min(ended + extra, last)
        if ended - began < SAMPLE_S:
            return None
        begin, end = self._at(began), self._at(ended)
        busy = end.busy_seconds - begin.busy_seconds
        known = end.cpu_seconds - begin.cpu_seconds + end.supervisor_cpu_seconds - begin.supervisor_cpu_seconds
        return min(max((busy - known) / (self._cores * (ended - began)), 0.0), 1.0)

    def memory(self) -> Memory | None:
        """Return the memory after start, after load and during training, or None if the training did not end."""
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
        """Return the wall seconds that were not spent in a phase, or None if the last phase did not end."""
        if not self.calls or any(call.ended is None for call in self.calls):
            return None
        spans = [(call, (call.ended or 0.0) - call.began) for call in self.calls]
        scoring = sum(span for call, span in spans if call.phase == SCORING)
        rounds = sum(span - sum(call.seconds) for call, span in spans if call.phase != SCORING)
        first, last = self.calls[0].began, self.calls[-1].ended or 0.0
        between = last - first - sum(span for _, span in spans)
        return Harness(first - began, rounds, scoring, between, ended - last)

    def first_prediction(self, began: float) -> float | None:
        """Return the wall seconds from the start of the process to its first prediction of one flower."""
        ends = [call.ended for call in self.calls if call.phase == "predict_one" and call.cold and call.ended]
        return ends[0] - began if ends else None

    def _at(self, moment: float) -> Sample:
        """Return a sample at this moment, interpolated between the samples before and after it."""
        after = bisect.bisect([sample.time for sample in self.samples], moment)
        if after == len(self.samples):
            return self.samples[-1] if self.samples else Sample(moment)
        right = self.samples[after]
        left = self.samples[after - 1] if after else _before(right)
        share = max(0.0, (moment - left.time) / (right.time - left.time))
        values = [a + share * (b - a) for a, b in zip(astuple(left), astuple(right), strict=True)]
        return Sample(*(round(value) if kind == "int" else value for kind, value in zip(_KINDS, values, strict=True)))

    def _peak(self, began: float, ended: float) -> Sample:
        """Return the sample with the most memory, from the last before `began` to the first after `ended`."""
        times = [sample.time for sample in self.samples]
        near = self.samples[max(bisect.bisect(times, began) - 1, 0) : bisect.bisect(times, ended) + 1]
        return max(near, key=lambda sample: sample.memory_bytes, default=Sample(began))


def _before(first: Sample) -> Sample:
    """Return a sample before the first one, when the tree did not exist. Counters since boot keep their values."""
    return Sample(
        first.time - SAMPLE_S,
        busy_seconds=first.busy_seconds,
        supervisor_cpu_seconds=first.supervisor_cpu_seconds,
        pressure_seconds=first.pressure_seconds,
    )


_KINDS = [field.type for field in Sample.__dataclass_fields__.values()]
