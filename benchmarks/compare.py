"""Two runs, case by case: what became faster, what became slower, and what cannot be said.

Two commits are compared, so a different commit is no reason to doubt; a different machine, limit or version is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import conditions, runs, statistics
from benchmarks.cases import Case
from benchmarks.gate import shortfall
from benchmarks.records import Record
from benchmarks.runs import Run
from benchmarks.statistics import NOISE_FLOOR, Estimate, Ratio, Spread, show_seconds
from errors import BadInput

FASTER, SLOWER, SAME = "faster", "slower", "no difference"
OTHER = "other machine or settings"
UNLIKE = "not comparable"
ONLY_A, ONLY_B = "only in A", "only in B"
COLOURS = {FASTER: "green", SLOWER: "red", SAME: "default"}

BELOW = "below target"
BROKEN = ("timeout", "out-of-memory", "failed", "skipped")


@dataclass(frozen=True)
class Comparison:
    """One case in both runs. `ratio` is B over A, and only there where the two may be compared."""

    case: Case
    verdict: str
    reason: str = ""
    a: Estimate | None = None
    b: Estimate | None = None
    ratio: Ratio | None = None
    broke: bool = False


@dataclass(frozen=True)
class Comparisons:
    """All cases of two runs. `machine` is the probe's time in B over that in A, which may raise the `floor`."""

    run_a: str
    run_b: str
    phase: str
    machine: float | None
    floor: float
    cases: tuple[Comparison, ...]


def command(run_a: Path, run_b: Path, phase: str, fail_on_slower: float | None, console: Console) -> int:
    """Compares and shows. 1 if a case is slower by more than `fail_on_slower`, or ends no more or below target.

    0 otherwise; BadInput where nothing could be compared, since that is no reason to be content.
    """
    found = compare(run_a, run_b, phase)
    show(found, console)
    if fail_on_slower is None:
        return 0
    if not any(one.ratio or one.broke for one in found.cases):
        raise BadInput(f"none of the {len(found.cases)} cases could be compared, so none can be said to be no slower")
    return int(any(one.broke or _is_slower(one, fail_on_slower) for one in found.cases))


def compare(run_a: Path, run_b: Path, phase: str) -> Comparisons:
    """The cases of two runs by a phase, in the order of A. BadInput if a folder is no run, or no case is in both."""
    a, b = runs.read(run_a), runs.read(run_b)
    pairs = _pairs(a, b)
    if not any(own and other for own, other in pairs):
        raise BadInput(
            f"{run_a} and {run_b} have no case in common. python -m benchmarks list shows the cases of a run"
        )
    machine = _machine(a, b)
    floor = max(NOISE_FLOOR, max(machine, 1 / machine) - 1) if machine else NOISE_FLOOR
    general = statistics.spread([(_seconds(own, phase), _seconds(other, phase)) for own, other in pairs])
    cases = tuple(_comparison(a, b, own, other, phase, floor, general) for own, other in pairs)
    return Comparisons(a.name, b.name, phase, machine, floor, cases)


def show(found: Comparisons, console: Console) -> None:
    """A table of the cases, what the probe says of the machine, and the counts of the verdicts."""
    table = Table(title=f"{found.phase}: A = {escape(found.run_a)}, B = {escape(found.run_b)}", box=SIMPLE_HEAD)
    table.add_column("case", min_width=20)
    for heading in ("A", "B"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("B / A", "verdict"):
        table.add_column(heading, min_width=13)
    for one in found.cases:
        table.add_row(
            escape(str(one.case)),
            *(show_seconds(side.median) if side else "–" for side in (one.a, one.b)),
            _show_ratio(one.ratio),
            f"[{COLOURS.get(one.verdict, 'dim')}]{one.verdict}[/]"
            + (escape(f": {one.reason}") if one.reason and one.verdict != OTHER else ""),
        )
    console.print(table)
    for reason in dict.fromkeys(one.reason for one in found.cases if one.verdict == OTHER):
        names = dict.fromkeys(one.case.framework for one in found.cases if one.reason == reason)
        console.print(escape(f"not ranked ({', '.join(names)}): {reason}"), soft_wrap=True)
    if any(one.ratio and one.ratio.unit == "rounds" for one in found.cases):
        console.print("* rests on the rounds of a single launch, which do not show how launches differ")
    if found.machine and found.floor > NOISE_FLOOR:
        by = f"{max(found.machine, 1 / found.machine) - 1:.0%}".replace("%", " %")
        word = "slower" if found.machine > 1 else "faster"
        console.print(f"the machine itself was {by} {word} in B: a smaller difference of a case is called none")
    counts = Counter(one.verdict for one in found.cases)
    console.print(", ".join(f"{number} {verdict}" for verdict, number in counts.most_common()))


def _is_slower(one: Comparison, fraction: float) -> bool:
    return one.verdict == SLOWER and one.ratio is not None and one.ratio.ratio - 1 > fraction


def _pairs(a: Run, b: Run) -> list[tuple[tuple[Record, ...], tuple[Record, ...]]]:
    """The records of each case in A and in B; the number of threads and the seed need not be the same."""
    in_a, in_b = _by_case(a), _by_case(b)
    pairs = []
    for case, own in in_a.items():
        like = [other for other in in_b if _question(other) == _question(case) and other not in in_a]
        partner = case if case in in_b else next(iter(like), None)
        pairs.append((own, in_b.pop(partner) if partner else ()))
    return pairs + [((), own) for own in in_b.values()]


def _by_case(run: Run) -> dict[Case, tuple[Record, ...]]:
    cases: dict[Case, tuple[Record, ...]] = {}
    for record in run.records:
        cases[record.case] = (*cases.get(record.case, ()), record)
    return cases


def _question(case: Case) -> tuple[Any, ...]:
    return case.framework, case.model, case.rows, case.track


def _comparison(
    a: Run, b: Run, own: Sequence[Record], other: Sequence[Record], phase: str, floor: float, general: Spread | None
) -> Comparison:
    case = (own or other)[0].case
    seconds_a, seconds_b = _seconds(own, phase), _seconds(other, phase)
    left, right = statistics.estimate(seconds_a), statistics.estimate(seconds_b)
    if not own or not other:
        return Comparison(case, ONLY_A if own else ONLY_B, "", left, right)
    if reasons := _differences(a, b, case, other[0].case):
        return Comparison(case, OTHER, "; ".join(reasons), left, right)
    hindrance_a, hindrance_b = _hindrance(own), _hindrance(other)
    if hindrance_a or hindrance_b:
        if hindrance_a == hindrance_b:
            where = [f"{hindrance_a} in both"]
        else:
            where = [f"{words} in {name}" for name, words in (("A", hindrance_a), ("B", hindrance_b)) if words]
        broke = not hindrance_a and hindrance_b is not None and hindrance_b.startswith((BELOW, *BROKEN))
        return Comparison(case, UNLIKE, ", ".join(where), left, right, broke=broke)
    ratio = statistics.ratio(seconds_a, seconds_b, general)
    if left is None or right is None or ratio is None:
        return Comparison(case, UNLIKE, f"no times of {phase}", left, right)
    for name, side in (("A", left), ("B", right)):
        if side.too_short:
            return Comparison(case, SAME, f"{side.unstable} in {name}", left, right, ratio)
    if ratio.low is None:
        return Comparison(case, SAME, "single values tell no difference", left, right, ratio)
    verdict = (SLOWER if ratio.ratio > 1 else FASTER) if ratio.differs(floor) else SAME
    return Comparison(case, verdict, "", left, right, ratio)


def _hindrance(launches: Sequence[Record]) -> str | None:
    """Why the times of a case do not count, if they do not: a launch did not end well, or trained too badly."""
    for record in launches:
        if record.outcome != "ok":
            return record.outcome
    below = shortfall(record.quality for record in launches if record.quality)
    return f"{BELOW} ({below})" if below else None


def _seconds(launches: Sequence[Record], phase: str) -> list[tuple[float, ...]]:
    return [record.phases[phase].seconds for record in launches if phase in record.phases]


def _machine(a: Run, b: Run) -> float | None:
    """How many times as long the probe took in B, if both have one."""
    probes = [[np.median(record.probe_seconds) for record in run.records if record.probe_seconds] for run in (a, b)]
    found = statistics.ratio([probes[0]], [probes[1]])
    return found.ratio if found else None


def _differences(a: Run, b: Run, own: Case, other: Case) -> list[str]:
    """What is not the same in the conditions of a case."""
    for name, run in (("A", a), ("B", b)):
        if not run.facts("machine"):
            return [f"{name} does not say on what machine it ran"]
    found = conditions.differences(a.environment, b.environment, own.framework)
    cases = [
        f"{name} was {getattr(own, name)} and is {getattr(other, name)}"
        for name in ("threads", "seed")
        if getattr(own, name) != getattr(other, name)
    ]
    return list(dict.fromkeys(found + cases))


def _show_ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    interval = f" ({ratio.low:.2f} – {ratio.high:.2f})" if ratio.low is not None and ratio.high is not None else ""
    return f"{ratio.ratio:.2f}{interval}" + " *" * (ratio.unit == "rounds")
