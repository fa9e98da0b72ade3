"""A card for each framework: what the records say it is strong and weak at, beside the others of the same run.

Nothing on a card is decided beforehand: a strength is a figure that is the best of the run, a weakness one that is the
worst, or a case that did not end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results.runs import Run
from benchmarks.units import show_memory, show_rows, show_seconds, show_threads, show_throughput
from reports.results import Result, median, results
from reports.styles import ordered
from reports.verdict import FLOWERS, is_on_gpu, sentence

NOTABLE = 1.25
"""How many times the next best, or worst, a figure must be to be called a strength, or a weakness."""
MOST_LIMITS = 4
OF_THE_MODEL = ("activation", "initial_weights")
"""Settings that only a framework names which cannot, or need not, do as the others do."""


@dataclass(frozen=True)
class Card:
    """One framework: `facts` are pairs of a name and words; `limits` are what did not work, with the error seen.

    `works`: it ended a case of this run.
    """

    framework: str
    version: str
    works: bool
    strong: list[str]
    weak: list[str]
    facts: list[tuple[str, str]]
    limits: list[str]
    recipes: list[str]


@dataclass(frozen=True)
class Measure:
    """A figure by which frameworks differ: how it is got from a framework's results, and written for people."""

    name: str
    value: Callable[[Sequence[Result]], float | None]
    show: Callable[[float], str]
    more_is_better: bool = False


def cards(run: Run) -> list[Card]:
    """The cards of all frameworks of a run, but for the baseline, which is none."""
    found = results(run.records)
    names = [name for name in ordered(record.case.framework for record in run.records) if name != "baseline"]
    own = {name: [result for result in found if result.case.framework == name] for name in names}
    measures = _measures(run, found)
    figures = {name: {one.name: one.value(own[name]) for one in measures} for name in names}
    return [_card(run, name, found, figures, measures) for name in names]


def _measures(run: Run, found: Sequence[Result]) -> list[Measure]:
    """Return the same measures for all frameworks: at the largest size and the most threads that most of them ended."""
    model, rows, threads = _common(found)
    several = any(result.several_threads for result in found)
    size = f"{model}, {show_rows(rows)} rows" + f", {show_threads(threads)}" * several
    with_threads = f" ({show_threads(threads)})" * several

    def at_size(own: Sequence[Result]) -> list[Result]:
        wanted = (model, rows, "tuned", threads)
        return [
            result
            for result in own
            if (result.case.model, result.case.rows, result.case.track, result.case.threads) == wanted
            and not (result.failure or result.below_target)
        ]

    def phase(name: str) -> Callable[[Sequence[Result]], float | None]:
        return lambda own: median(time.median for result in at_size(own) if (time := result.seconds(name)))

    def speed(name: str) -> Callable[[Sequence[Result]], float | None]:
        seconds = phase(name)
        return lambda own: rows / value if (value := seconds(own)) else None

    def cold(own: Sequence[Result]) -> float | None:
        ended = [result for result in own if not result.failure and result.case.threads == threads]
        parts = [
            median(seconds for result in ended if (seconds := result.cold_seconds(phase)) is not None)
            for phase in ("import", "start")
        ]
        return sum(part for part in parts if part is not None) if None not in parts else None

    def install_cost(name: str) -> Callable[[Sequence[Result]], float | None]:
        def value(own: Sequence[Result]) -> float | None:
            cost = run.environment.framework(own[0].case.framework).install_cost
            return None if cost is None or all(result.failure for result in own) else getattr(cost, name)

        return value

    return [
        Measure(f"training ({size})", speed("train"), show_throughput, more_is_better=True),
        Measure(f"predicting ({size})", speed("predict"), show_throughput, more_is_better=True),
        Measure(f"one flower{with_threads}", phase("predict_one"), show_seconds),
        Measure(f"import and start{with_threads}", cold, show_seconds),
        Measure(
            f"peak memory ({size})",
            lambda own: median(peak for result in at_size(own) if (peak := result.peak_memory_bytes)),
            show_memory,
        ),
        Measure("disk, installed", install_cost("megabytes"), lambda value: f"{value:,.0f} MB"),
        Measure("packages", install_cost("packages"), lambda value: f"{value:,.0f}"),
        Measure("its adapter", install_cost("adapter_lines"), lambda value: f"{value:,.0f} lines"),
    ]


def _common(found: Iterable[Result]) -> tuple[str, int, int]:
    """Return the model, rows and threads that most frameworks ended: the mlp first, then the largest of each."""
    ended: dict[tuple[str, int, int], set[str]] = {}
    for result in found:
        case = result.case
        if not result.failure and case.track == "tuned" and case.rows != FLOWERS:
            ended.setdefault((case.model, case.rows, case.threads), set()).add(case.framework)
    return max(ended, key=lambda key: (len(ended[key]), key[0] == "mlp", *key[1:]), default=("mlp", 0, 1))


def _card(
    run: Run,
    name: str,
    found: Sequence[Result],
    figures: dict[str, dict[str, float | None]],
    measures: Sequence[Measure],
) -> Card:
    own = [result for result in found if result.case.framework == name]
    strong: list[str] = []
    weak: list[str] = []
    for measure in measures[:6]:  # the rest describe, and make nothing better or worse
        value = figures[name][measure.name]
        others = [other for key, one in figures.items() if key != name and (other := one[measure.name])]
        if not value or not others:
            continue
        best, worst = (max, min) if measure.more_is_better else (min, max)
        for words, end in ((strong, best), (weak, worst)):
            nearest = end(others)
            if end(value, nearest) == value and max(value / nearest, nearest / value) >= NOTABLE:
                words.append(f"{measure.name}: {measure.show(value)}, and the next {measure.show(nearest)}")
    about = run.environment.framework(name)
    facts = [
        (measure.name, measure.show(value))
        for measure in measures
        if (value := figures[name][measure.name]) is not None
    ]
    ended = [result for result in own if not result.failure]
    most = max((result.case.threads for result in ended), default=0)
    with_most = [result for result in ended if result.case.threads == most]
    used = median(busy for result in with_most if (busy := result.threads_used("train")) is not None)
    if used is not None:
        facts.append(("cores kept busy in training", f"{used:.1f} of {most}"))
    sizes = [record.model_bytes for result in ended for record in result.records if record.model_bytes is not None]
    if sizes:
        smallest, largest = show_memory(min(sizes)), show_memory(max(sizes))
        facts.append(("a saved model", smallest if smallest == largest else f"{smallest} to {largest}"))
    facts += [
        (called, value)
        for called, value in (("saves as", about.format), ("for many machines", about.distributed))
        if value
    ]
    facts.append(("device", "GPU (CUDA)" if is_on_gpu(name, about) else "CPU"))
    if ended:
        largest_ended = max(ended, key=lambda result: (result.case.rows, result.case.threads))
        facts.append(
            ("largest size that it ended", f"{show_rows(largest_ended.case.rows)} rows{_threads(largest_ended)}")
        )
    below = [result for result in ended if result.below_target]
    limits = list(dict.fromkeys(_limit(result) for result in own if result.failure))
    if len(limits) > MOST_LIMITS:
        limits = [*limits[:MOST_LIMITS], f"and {len(limits) - MOST_LIMITS} more"]
    if below:
        groups: dict[str, list[str]] = {}
        for result in below:
            conditions = " and ".join(result.failed_conditions)
            failed = f"{result.case.model}, {result.case.track}{_threads(result)}, {conditions}"
            groups.setdefault(failed, []).append(show_rows(result.case.rows))
        told = "; ".join(f"{failed}: {', '.join(sizes)} rows" for failed, sizes in groups.items())
        limits.append(f"below target: {told}")
    return Card(name, about.version or "", bool(ended), strong, weak, facts, limits, _recipes(ended, found))


def _threads(result: Result) -> str:
    """Return the number of threads after a comma, if the run has several."""
    return f", {show_threads(result.case.threads)}" * result.several_threads


def _limit(result: Result) -> str:
    """Return what did not work. The size is omitted if the framework cannot do it at any size."""
    assert result.failure
    told, case = sentence(result.failure), result.case
    if result.outcome == "unavailable":
        return told
    if result.outcome == "unsupported":
        return f"{case.model}: {told}"
    return f"{case.model}, {show_rows(case.rows)} rows, {case.track}{_threads(result)}: {told}"


def _recipes(ended: Sequence[Result], found: Sequence[Result]) -> list[str]:
    """Return the recipe of each model, track and number of threads at the largest size, and how it differs from others.

    Numbers of threads with the same recipe share a line.
    """
    last: dict[tuple[str, str, int], Result] = {}
    for result in sorted(ended, key=lambda result: result.case.rows):
        if _recipe(result):
            last[result.case.model, result.case.track, result.case.threads] = result
    lines: dict[str, list[int]] = {}
    for (model, track, threads), result in last.items():
        told = [(name, value) for name, value in _recipe(result).items() if name not in ("threads", "predict_one")]
        words = f"{model}, {track}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told)
        departures = _departures(result, found)
        words += f". Otherwise than the others: {'; '.join(departures)}" * bool(departures)
        lines.setdefault(words, []).append(threads)
    several = any(result.several_threads for result in found)
    return [f"{line} ({_all_threads(threads)})" if several else line for line, threads in lines.items()]


def _all_threads(numbers: Sequence[int]) -> str:
    """Return "1 thread" or "1 and 2 threads"."""
    *others, last = sorted(numbers)
    return " and ".join([*map(str, others), show_threads(last)])


def _recipe(result: Result) -> dict[str, Any]:
    return next((record.recipe for record in result.records if record.recipe), {})


def _departures(result: Result, found: Sequence[Result]) -> list[str]:
    """What of the solver, and of the model itself, is not as with the most frameworks that learned the same."""
    same = {
        other.case.framework: _recipe(other)
        for other in found
        if (other.case.model, other.case.track, other.case.threads)
        == (result.case.model, result.case.track, result.case.threads)
        and other.case.framework not in (result.case.framework, "baseline")
        and _recipe(other)
    }
    own, words = _recipe(result), []
    if families := Counter(_family(solver) for recipe in same.values() if (solver := _solver(recipe))):
        commonest, times = families.most_common(1)[0]
        if (solver := _solver(own)) and times > 1 and _family(solver) != commonest:
            words.append(f"{solver}, where most take {commonest}")
    unlike = (name for name in OF_THE_MODEL if name in own and not any(name in recipe for recipe in same.values()))
    return words + [f"{name.replace('_', ' ')} {own[name]}" for name in unlike]


def _solver(recipe: dict[str, Any]) -> str | None:
    return recipe.get("solver") or recipe.get("algorithm")


def _family(solver: object) -> str:
    """Adam, L-BFGS, SGD: the name of a solver without its spelling and what is said beside it."""
    name = str(solver).split(",")[0].upper().replace("_", "").replace("-", "")
    return {"LBFGS": "L-BFGS", "ADAM": "Adam", "NEWTON": "Newton", "NEWTONCHOLESKY": "Newton"}.get(name, name)
