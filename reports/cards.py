"""A card for each framework: what the records say it is strong and weak at, beside the others of the same run.

Nothing on a card is decided beforehand: a strength is a figure that is the best of the run, a weakness one that is the
worst, or a case that did not end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.run_folder.runs import Run
from benchmarks.units import show_memory, show_rows, show_seconds, show_throughput
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
    """The same for all: times are those of the largest size that the most frameworks have ended."""
    model, rows = _common(found)
    size = f"{model}, {show_rows(rows)} rows"

    def at_size(own: Sequence[Result]) -> list[Result]:
        wanted = (model, rows, "tuned")
        return [
            result
            for result in own
            if (result.case.model, result.case.rows, result.case.track) == wanted
            and not (result.failure or result.below_target)
        ]

    def phase(name: str) -> Callable[[Sequence[Result]], float | None]:
        return lambda own: median(time.median for result in at_size(own) if (time := result.seconds(name)))

    def speed(name: str) -> Callable[[Sequence[Result]], float | None]:
        seconds = phase(name)
        return lambda own: rows / value if (value := seconds(own)) else None

    def cold(own: Sequence[Result]) -> float | None:
        ended = [result for result in own if not result.failure]
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
        Measure("one flower", phase("predict_one"), show_seconds),
        Measure("import and start", cold, show_seconds),
        Measure(
            f"peak memory ({size})",
            lambda own: median(peak for result in at_size(own) if (peak := result.peak_memory_bytes)),
            show_memory,
        ),
        Measure("disk, installed", install_cost("megabytes"), lambda value: f"{value:,.0f} MB"),
        Measure("packages", install_cost("packages"), lambda value: f"{value:,.0f}"),
        Measure("its adapter", install_cost("adapter_lines"), lambda value: f"{value:,.0f} lines"),
    ]


def _common(found: Iterable[Result]) -> tuple[str, int]:
    """The model and the size that the most frameworks ended, the networks before the rest, the largest of those."""
    ended: dict[tuple[str, int], set[str]] = {}
    for result in found:
        if not result.failure and result.case.track == "tuned" and result.case.rows != FLOWERS:
            ended.setdefault((result.case.model, result.case.rows), set()).add(result.case.framework)
    return max(ended, key=lambda key: (len(ended[key]), key[0] == "mlp", key[1]), default=("mlp", 0))


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
    threads = median(used for result in ended if (used := result.threads_used("train")) is not None)
    if threads is not None:
        facts.append(("cores kept busy in training", f"{threads:.1f} of {max(one.case.threads for one in ended)}"))
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
    largest_ended = max((result.case.rows for result in ended), default=None)
    if largest_ended:
        facts.append(("largest size that it ended", f"{show_rows(largest_ended)} rows"))
    below = [result for result in ended if result.below_target]
    limits = list(dict.fromkeys(_limit(result) for result in own if result.failure))
    if len(limits) > MOST_LIMITS:
        limits = [*limits[:MOST_LIMITS], f"and {len(limits) - MOST_LIMITS} more"]
    if below:
        groups: dict[str, list[str]] = {}
        for result in below:
            failed = f"{result.case.model}, {result.case.track}, {' and '.join(result.failed_conditions)}"
            groups.setdefault(failed, []).append(show_rows(result.case.rows))
        told = "; ".join(f"{name}: {', '.join(sizes)} rows" for name, sizes in groups.items())
        limits.append(f"below target: {told}")
    return Card(name, about.version or "", bool(ended), strong, weak, facts, limits, _recipes(ended, found))


def _limit(result: Result) -> str:
    """What did not work; what a framework lacks altogether is said without the size."""
    assert result.failure
    told, case = sentence(result.failure), result.case
    if result.outcome == "unavailable":
        return told
    where = (
        case.model if result.outcome == "unsupported" else f"{case.model}, {show_rows(case.rows)} rows, {case.track}"
    )
    return f"{where}: {told}"


def _recipes(ended: Sequence[Result], found: Sequence[Result]) -> list[str]:
    """How it learned each model on each track at the largest size, and where that departs from how the others did."""
    last: dict[tuple[str, str], Result] = {}
    for result in sorted(ended, key=lambda result: result.case.rows):
        if _recipe(result):
            last[result.case.model, result.case.track] = result
    lines = []
    for (model, track), result in last.items():
        told = [(name, value) for name, value in _recipe(result).items() if name not in ("threads", "predict_one")]
        words = f"{model}, {track}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told)
        departures = _departures(result, found)
        lines.append(f"{words}. Otherwise than the others: {'; '.join(departures)}" if departures else words)
    return lines


def _recipe(result: Result) -> dict[str, Any]:
    return next((record.recipe for record in result.records if record.recipe), {})


def _departures(result: Result, found: Sequence[Result]) -> list[str]:
    """What of the solver, and of the model itself, is not as with the most frameworks that learned the same."""
    same = {
        other.case.framework: _recipe(other)
        for other in found
        if (other.case.model, other.case.track) == (result.case.model, result.case.track)
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
