"""Compare two runs case by case: which cases became faster, became slower, or show no difference.

The runs may be of different commits. They are not comparable if their machines, limits or versions differ.
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

from benchmarks import statistics
from benchmarks.cases import Case
from benchmarks.comparison import comparability
from benchmarks.quality_gate import shortfall
from benchmarks.results import runs
from benchmarks.results.records import Record, counted
from benchmarks.results.runs import Run
from benchmarks.statistics import NOISE_FLOOR, Estimate, Ratio, Spread
from benchmarks.units import show_seconds
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
    """One case in both runs. `ratio` is b / a, or None if the two cannot be compared.

    `broke` means that the case succeeded in A, and failed or missed its target in B.
    """

    case: Case
    result: str
    reason: str = ""
    a: Estimate | None = None
    b: Estimate | None = None
    ratio: Ratio | None = None
    broke: bool = False


@dataclass(frozen=True)
class Comparisons:
    """All cases of two runs.

    `machine` is the ratio of the speed probes, b / a. Ratios of cases that differ from 1 by less than `floor` are
    ignored. The floor is larger if the speed of the machine changed.
    """

    run_a: str
    run_b: str
    phase: str
    machine: float | None
    floor: float
    cases: tuple[Comparison, ...]


def command(run_a: Path, run_b: Path, phase: str, fail_on_slower: float | None, console: Console) -> int:
    """Compare two runs, print the result and return the exit code.

    It is 1 if a case is slower by more than `fail_on_slower`, or failed or missed its target only in B; otherwise 0.
    Raise BadInput if no case could be compared, because then the check has no answer.
    """
    comparisons = compare(run_a, run_b, phase)
    show(comparisons, console)
    if fail_on_slower is None:
        return 0
    cases = comparisons.cases
    if not any(case.ratio or case.broke for case in cases):
        raise BadInput(f"none of the {len(cases)} cases could be compared; compare two runs on the same machine")
    return int(any(case.broke or _is_slower(case, fail_on_slower) for case in cases))


def compare(run_a: Path, run_b: Path, phase: str) -> Comparisons:
    """Compare the seconds of a phase in each case of two runs, in the order of A.

    Raise BadInput if a folder is not a run, or if the runs have no case in common.
    """
    a, b = runs.read(run_a), runs.read(run_b)
    pairs = _pairs(a, b)
    if not any(launches_a and launches_b for launches_a, launches_b in pairs):
        raise BadInput(
            f"{run_a} and {run_b} have no case in common; compare runs of the same frameworks, models, rows, tracks"
        )
    machine = _machine(a, b)
    floor = max(NOISE_FLOOR, max(machine, 1 / machine) - 1) if machine else NOISE_FLOOR
    usual = statistics.spread([(_seconds(in_a, phase), _seconds(in_b, phase)) for in_a, in_b in pairs])
    cases = tuple(_comparison(a, b, in_a, in_b, phase, floor, usual) for in_a, in_b in pairs)
    return Comparisons(a.name, b.name, phase, machine, floor, cases)


def show(comparisons: Comparisons, console: Console) -> None:
    """Print a table of the cases, the change of the machine's speed, and the number of cases with each result."""
    title = f"{comparisons.phase}: A = {escape(comparisons.run_a)}, B = {escape(comparisons.run_b)}"
    table = Table(title=title, box=SIMPLE_HEAD)
    table.add_column("case", min_width=20)
    for heading in ("A", "B"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("B / A", "result"):
        table.add_column(heading, min_width=13)
    several = len({case.case.threads for case in comparisons.cases}) > 1
    for case in comparisons.cases:
        table.add_row(
            escape(case.case.with_threads if several else str(case.case)),
            *(show_seconds(side.median) if side else "–" for side in (case.a, case.b)),
            _show_ratio(case.ratio),
            f"[{COLOURS.get(case.result, 'dim')}]{case.result}[/]"
            + (escape(f": {case.reason}") if case.reason and case.result != OTHER else ""),
        )
    console.print(table)
    for reason in dict.fromkeys(case.reason for case in comparisons.cases if case.result == OTHER):
        names = dict.fromkeys(case.case.framework for case in comparisons.cases if case.reason == reason)
        console.print(escape(f"not compared ({', '.join(names)}): {reason}"), soft_wrap=True)
    if any(case.ratio and case.ratio.unit == "rounds" for case in comparisons.cases):
        console.print("* from the repeats of a single launch, which do not show how launches differ")
    if comparisons.machine and comparisons.floor > NOISE_FLOOR:
        change = f"{max(comparisons.machine, 1 / comparisons.machine) - 1:.0%}".replace("%", " %")
        word = "slower" if comparisons.machine > 1 else "faster"
        console.print(f"the machine itself was {change} {word} in B: smaller differences are ignored")
    counts = Counter(case.result for case in comparisons.cases)
    console.print(", ".join(f"{number} {result}" for result, number in counts.most_common()))


def _is_slower(case: Comparison, fraction: float) -> bool:
    return case.result == SLOWER and case.ratio is not None and case.ratio.ratio - 1 > fraction


def _pairs(a: Run, b: Run) -> list[tuple[tuple[Record, ...], tuple[Record, ...]]]:
    """Return the records of each case in A and in B. A case that is not in B is paired with other threads or seeds."""
    in_a, in_b = _by_case(a), _by_case(b)
    pairs = []
    for case, launches in in_a.items():
        similar = [other for other in in_b if _question(other) == _question(case) and other not in in_a]
        partner = case if case in in_b else next(iter(similar), None)
        pairs.append((launches, in_b.pop(partner) if partner else ()))
    return pairs + [((), launches) for launches in in_b.values()]


def _by_case(run: Run) -> dict[Case, tuple[Record, ...]]:
    cases: dict[Case, tuple[Record, ...]] = {}
    for record in run.records:
        cases[record.case] = (*cases.get(record.case, ()), record)
    return cases


def _question(case: Case) -> tuple[Any, ...]:
    return case.framework, case.model, case.rows, case.track


def _comparison(
    a: Run,
    b: Run,
    launches_a: Sequence[Record],
    launches_b: Sequence[Record],
    phase: str,
    floor: float,
    usual: Spread | None,
) -> Comparison:
    case = (launches_a or launches_b)[0].case
    seconds_a, seconds_b = _seconds(launches_a, phase), _seconds(launches_b, phase)
    left, right = statistics.estimate(seconds_a), statistics.estimate(seconds_b)
    if not launches_a or not launches_b:
        return Comparison(case, ONLY_A if launches_a else ONLY_B, "", left, right)
    if reasons := _differences(a, b, case, launches_b[0].case):
        return Comparison(case, OTHER, "; ".join(reasons), left, right)
    problem_a, problem_b = _problem(launches_a), _problem(launches_b)
    if problem_a or problem_b:
        if problem_a == problem_b:
            problems = [f"{problem_a} in both"]
        else:
            problems = [f"{problem} in {name}" for name, problem in (("A", problem_a), ("B", problem_b)) if problem]
        broke = not problem_a and problem_b is not None and problem_b.startswith((BELOW, *BROKEN))
        return Comparison(case, UNLIKE, ", ".join(problems), left, right, broke=broke)
    ratio = statistics.ratio(seconds_a, seconds_b, usual)
    if left is None or right is None or ratio is None:
        return Comparison(case, UNLIKE, f"no times of {phase}", left, right)
    for name, side in (("A", left), ("B", right)):
        if side.too_short:
            return Comparison(case, SAME, f"{side.unstable} in {name}", left, right, ratio)
    if ratio.low is None:
        return Comparison(case, SAME, "too few values to show a difference", left, right, ratio)
    result = (SLOWER if ratio.ratio > 1 else FASTER) if ratio.differs(floor) else SAME
    return Comparison(case, result, "", left, right, ratio)


def _problem(launches: Sequence[Record]) -> str | None:
    """Return why the times of a case do not count (a launch failed or missed the target), or None if they count."""
    for record in launches:
        if record.outcome != "ok":
            return record.outcome
    below = shortfall(record.quality for record in launches if record.quality)
    return f"{BELOW} ({below})" if below else None


def _seconds(launches: Sequence[Record], phase: str) -> list[tuple[float, ...]]:
    phases = [record.phases[phase] for record in launches if phase in record.phases]
    return [measured.seconds for measured in counted(phases)]


def _machine(a: Run, b: Run) -> float | None:
    """Return the ratio of the speed probes, b / a, or None if a run has none."""
    probes = [[np.median(record.probe_seconds) for record in run.records if record.probe_seconds] for run in (a, b)]
    ratio = statistics.ratio([probes[0]], [probes[1]])
    return ratio.ratio if ratio else None


def _differences(a: Run, b: Run, case_a: Case, case_b: Case) -> list[str]:
    """Return what differs between the machines, versions and settings of a case."""
    for name, run in (("A", a), ("B", b)):
        if not run.environment.machine:
            return [f"{name} does not record its machine"]
    differences = comparability.differences(a.environment, b.environment, case_a.framework)
    differences += [
        f"{name} was {getattr(case_a, name)} and is {getattr(case_b, name)}"
        for name in ("threads", "seed")
        if getattr(case_a, name) != getattr(case_b, name)
    ]
    return list(dict.fromkeys(differences))


def _show_ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    interval = f" ({ratio.low:.2f} – {ratio.high:.2f})" if ratio.low is not None and ratio.high is not None else ""
    return f"{ratio.ratio:.2f}{interval}" + " *" * (ratio.unit == "rounds")
