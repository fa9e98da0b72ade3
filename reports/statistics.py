"""Numbers derived from raw values, and numbers written for people. Every median of a report is made here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.records import Case, Record

MEMORY_PHASES = ("load", "train", "predict")


@dataclass(frozen=True)
class Summary:
    """Raw values in four numbers; the unit is theirs."""

    median: float
    low: float
    high: float
    count: int


def summary(values: Iterable[float]) -> Summary | None:
    """Median, smallest, largest and count; None if there are no values."""
    known = sorted(values)
    return Summary(statistics.median(known), known[0], known[-1], len(known)) if known else None


@dataclass(frozen=True)
class Result:
    """All records of one case: launch by launch, never mixed with another case or another run."""

    case: Case
    records: tuple[Record, ...]

    @property
    def failure(self) -> Record | None:
        """The first launch that did not end well, if one did not."""
        return next((record for record in self.records if record.outcome != "ok"), None)

    @property
    def outcome(self) -> str:
        """ "ok" if every launch was, or what happened to the first that was not."""
        return self.failure.outcome if self.failure else "ok"

    def seconds(self, phase: str) -> Summary | None:
        """Seconds of the measured rounds of a phase, over all launches."""
        return summary(value for record in self.records for value in _values(record, phase, "seconds"))

    def cold_seconds(self, phase: str) -> float | None:
        """Seconds of a phase the first time: the warm-up of each launch, or its first round if it had none."""
        first = [
            _values(record, phase, "warmup_seconds") or _values(record, phase, "seconds") for record in self.records
        ]
        found = summary(values[0] for values in first if values)
        return found.median if found else None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most that the process tree held while it loaded, trained or predicted."""
        return max((peak for record in self.records if (peak := peak_memory_bytes(record)) is not None), default=None)

    @property
    def threads_used(self) -> float | None:
        """CPU seconds of training over its wall seconds; None where it was too short for the samples from outside."""
        trains = [record.phases["train"] for record in self.records if "train" in record.phases]
        found = summary(
            train.cpu_seconds / train.span_seconds
            for train in trains
            if train.cpu_seconds is not None and train.span_seconds and train.span_seconds >= 1.0
        )
        return found.median if found else None

    def quality(self, name: str) -> float | None:
        """The median over the launches of a field of Quality."""
        values = [getattr(record.quality, name) for record in self.records if record.quality]
        found = summary(value for value in values if value is not None)
        return found.median if found else None

    @property
    def below_target(self) -> bool:
        """Whether a launch was measured and did not reach the target."""
        return any(record.quality is not None and not record.quality.reached_target for record in self.records)

    @property
    def first_prediction_seconds(self) -> float | None:
        """Seconds from start to first prediction, the median over the launches."""
        found = summary(
            record.first_prediction_seconds for record in self.records if record.first_prediction_seconds is not None
        )
        return found.median if found else None


def results(records: Sequence[Record]) -> list[Result]:
    """The records by case; framework by framework, and then from the smallest size to the largest."""
    cases: dict[Case, list[Record]] = {}
    for record in records:
        cases.setdefault(record.case, []).append(record)
    order = sorted(cases, key=lambda case: (case.framework, case.track, case.rows))
    return [Result(case, tuple(cases[case])) for case in order]


def median_seconds(record: Record, phase: str) -> float | None:
    """Median seconds of the measured rounds of one phase of one record."""
    found = summary(_values(record, phase, "seconds"))
    return found.median if found else None


def peak_memory_bytes(record: Record) -> int | None:
    """The largest peak of loading, training and predicting of one record."""
    peaks = [record.phases[phase].peak_memory_bytes for phase in MEMORY_PHASES if phase in record.phases]
    return max((peak for peak in peaks if peak is not None), default=None)


def _values(record: Record, phase: str, kind: str) -> tuple[float, ...]:
    return getattr(record.phases[phase], kind) if phase in record.phases else ()


def show_seconds(value: float, digits: int = 2) -> str:
    """Seconds for people: 1.2 s, 45 ms, 17 µs."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 0.9995 or not value:
            return f"{_significant(value * factor, digits)} {unit}"
    return f"{_significant(value * 1e9, digits)} ns"


def show_memory(value: float) -> str:
    """Bytes for people: 3.4 GiB, 512 MiB."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if value >= 1024**power:
            return f"{_significant(value / 1024**power, 2)} {unit}"
    return f"{value:,.0f} B"


def show_rows(value: int) -> str:
    """A number of rows for people: 150, 10,000, 10 M."""
    return f"{value / 1e6:,.4g} M" if 1_000_000 <= value < 1e10 else f"{value:,}"


def show_share(value: float, digits: int = 4) -> str:
    """An accuracy for people: 0.9817."""
    return f"{value:.{digits}g}"


def show_spread(found: Summary) -> str:
    """A median of seconds and, where there is more than one value, the spread: 1.2 s (1.1 – 1.4 s)."""
    median, low, high = (show_seconds(value) for value in (found.median, found.low, found.high))
    if found.count == 1:
        return median
    same_unit = low.split()[-1] == high.split()[-1]
    return f"{median} ({low.split()[0] if same_unit else low} – {high})"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(value)))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
