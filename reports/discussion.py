"""Questions for a class that the data of this very run makes worth asking, each with the evidence to look at.

They are picked by rule: where two frameworks change places, what the default recipe costs, what did not end, what more
rows bring, what a cold start costs, and who is fast at one thing only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from benchmarks.units import show_rows, show_seconds, show_share, significant
from reports import scaling
from reports.results import Result
from reports.scaling import Interval, Law
from reports.verdict import FLOWERS, Contender, sentence

LESSONS = ("out-of-memory", "timeout", "failed", "unsupported")
"""Outcomes that teach something, the plainest first."""
LEAST_FACTOR = 2.0
"""What is less than so many times as long is no matter for a discussion."""


@dataclass(frozen=True)
class Topic:
    """A question, and what to look at before answering."""

    question: str
    evidence: str


@dataclass(frozen=True)
class Crossing:
    """Two frameworks that change places: up to `rows` rows `small` costs less, and from there on `large`.

    `predicted`: beyond the sizes on which both were measured.
    """

    model: str
    small: str
    large: str
    rows: Interval
    predicted: bool


def topics(found: Sequence[Result], crossings: Sequence[Crossing]) -> list[Topic]:
    """What this run gives to talk about, the most striking of each kind."""
    own = [result for result in found if result.case.framework != "baseline"]
    kinds = (_places(crossings), _tracks(own), _lesson(own), _rows_that_do_not_help(own), _cold(own), _one_flower(own))
    return [topic for kind in kinds for topic in kind]


def crossings(contenders: Iterable[Contender]) -> list[Crossing]:
    """Return where the laws of two frameworks cross, for the training time of one tuned model and number of threads."""
    laws = [
        ((one.model, one.threads), one.name, law)
        for one in contenders
        if one.track == "tuned" and one.framework != "baseline" and isinstance(law := one.times["train"], Law)
    ]
    made = []
    for (task, name, law), (other_task, other, other_law) in combinations(laws, 2):
        if task == other_task and (rows := scaling.crossing(law, other_law)):
            few = max(law.smallest, other_law.smallest)
            first = law.startup + law.c * few**law.k < other_law.startup + other_law.c * few**other_law.k
            predicted = rows.value > min(law.largest, other_law.largest)
            made.append(Crossing(task[0], *((name, other) if first else (other, name)), rows, predicted))
    return sorted(made, key=lambda one: (one.model, one.rows.value))


def show_crossing(one: Crossing) -> str:
    """Rows at which two laws cross, with two digits: more are not known."""
    value, low, high = (show_rows(round_rows(end)) for end in (one.rows.value, one.rows.low, one.rows.high))
    return f"{value} rows ({low} to {high}){', predicted' * one.predicted}"


def round_rows(rows: float) -> int:
    """Two digits of a number of rows."""
    return round(float(f"{rows:.2g}"))


def _places(crossings: Sequence[Crossing]) -> Iterator[Topic]:
    if crossings:
        one = max(crossings, key=lambda one: one.rows.value)
        yield Topic(
            f"Up to some number of rows {one.small} trains the {one.model} faster, beyond it {one.large}. On which "
            "side of it is the data that you know from work or class, and on which will it be in three years?",
            f"Their laws cross at {show_crossing(one)}: see the chart of training time of the {one.model}.",
        )


def _tracks(own: Sequence[Result]) -> Iterator[Topic]:
    timed: dict[tuple[str, str, int, int], dict[str, Result]] = {}
    for result in own:
        case, time = result.case, result.seconds("train")
        if not result.failure and time and time.median > 0 and case.rows != FLOWERS:
            timed.setdefault((case.framework, case.model, case.rows, case.threads), {})[case.track] = result
    pairs = [
        (slow.median / fast.median, both["default"], both["tuned"])
        for both in timed.values()
        if {"default", "tuned"} <= both.keys()
        and (slow := both["default"].seconds("train"))
        and (fast := both["tuned"].seconds("train"))
    ]
    if pairs and max(pair[0] for pair in pairs) >= LEAST_FACTOR:
        factor, slow_one, fast_one = max(pairs, key=lambda pair: pair[0])
        case = slow_one.case
        slow, fast = slow_one.seconds("train"), fast_one.seconds("train")
        assert slow and fast
        yield Topic(
            f"The getting-started way of {slow_one.name} takes {significant(factor, 2)} times as long as an expert's. "
            "What does the expert do otherwise, how long would it take you to find that out, and when does it pay?",
            f"{case.model}, {show_rows(case.rows)} rows: {show_seconds(slow.median)} by default, "
            f"{show_seconds(fast.median)} tuned. Compare the two under Recipes as they ran.",
        )


def _lesson(own: Sequence[Result]) -> Iterator[Topic]:
    ended = {_work(result) for result in own if not result.failure}
    failures = [result for result in own if result.outcome in LESSONS and _work(result) in ended]
    if failures:
        # The plainest kind, and of that kind the smallest data on which it happened.
        result = min(failures, key=lambda one: (LESSONS.index(one.outcome), one.case.rows, one.case.framework))
        assert result.failure
        yield Topic(
            f"{result.name} did not end the {result.case.model} on {show_rows(result.case.rows)} rows, and "
            "others did. Is that a limit of the framework, of its recipe, or of this machine, and what would you try?",
            f"What was seen: {sentence(result.failure)}. See What did not work.",
        )


def _work(result: Result) -> tuple[str, int, int]:
    """Return what several frameworks may have done: a model, rows and a number of threads."""
    return result.case.model, result.case.rows, result.case.threads


def _rows_that_do_not_help(own: Sequence[Result]) -> Iterator[Topic]:
    """The most rows that brought the least: from one size to a later one no accuracy, but time."""
    best: tuple[float, Result, Result] | None = None
    known = [
        result
        for result in own
        if not result.failure
        and result.case.track == "tuned"
        and result.case.rows >= 1_000
        and result.quality("accuracy") is not None
        and result.seconds("train")
        and not result.below_target
    ]

    def line(result: Result) -> tuple[str, str, int]:
        return result.case.framework, result.case.model, result.case.threads

    for _, sizes in groupby(sorted(known, key=lambda result: (*line(result), result.case.rows)), key=line):
        for one, other in combinations(sizes, 2):
            gained = (other.quality("accuracy") or 0.0) - (one.quality("accuracy") or 0.0)
            few, many = one.seconds("train"), other.seconds("train")
            if (
                few
                and many
                and few.median > 0
                and gained < 0.001
                and (best is None or many.median - few.median > best[0])
            ):
                best = many.median - few.median, one, other
    if best and best[0] > 0:
        _, one, other = best
        few, many = one.seconds("train"), other.seconds("train")
        assert few and many
        times = significant(other.case.rows / one.case.rows, 2)
        accuracies = [show_share(result.quality("accuracy") or 0.0) for result in (one, other)]
        yield Topic(
            f"{times} times the rows made the {one.case.model} of {one.name} no better. When does more data "
            "help a model, and what would the data have to be like for these rows to be worth their time?",
            f"{show_rows(one.case.rows)} rows: {accuracies[0]} in {show_seconds(few.median)}; "
            f"{show_rows(other.case.rows)} rows: {accuracies[1]} in {show_seconds(many.median)}. "
            "See the charts of accuracy and of log-loss.",
        )


def _cold(own: Sequence[Result]) -> Iterator[Topic]:
    """The framework that waits longest for its first answer, beside what it then needs for training."""
    found = []
    for result in own:
        wait, train = result.first_prediction_seconds, result.seconds("train")
        if not result.failure and wait and train and train.median > 0 and result.case.rows != FLOWERS:
            found.append((wait, train.median, result))
    if not found:
        return
    wait, seconds, slowest = max(found, key=lambda one: one[0])
    case = slowest.case
    if wait >= 1:
        yield Topic(
            f"{slowest.name} takes {show_seconds(wait)} from its start to its first prediction. For which uses is "
            "that nothing, and for which is it everything: a nightly job, a function in the cloud, a notebook, a test?",
            f"{case.model}, {show_rows(case.rows)} rows: training itself takes {show_seconds(seconds)} when warm. "
            "See the chart from start to first prediction.",
        )


def _one_flower(own: Sequence[Result]) -> Iterator[Topic]:
    """Two frameworks whose order turns round between predicting many and predicting one."""
    turned = []
    ended = [result for result in own if not result.failure and result.case.track == "tuned"]
    for one, other in combinations(ended, 2):
        if one.case.task != other.case.task or one.case.rows == FLOWERS:
            continue
        times = [result.seconds(phase) for result in (one, other) for phase in ("predict", "predict_one")]
        if all(time and time.median > 0 for time in times):
            many, single, other_many, other_single = (time.median if time else 0.0 for time in times)
            for a, b, x, y in (
                (one, other, other_many / many, single / other_single),
                (other, one, many / other_many, other_single / single),
            ):
                if min(x, y) >= LEAST_FACTOR:
                    turned.append((min(x, y), a, b))
    if turned:
        _, a, b = max(turned, key=lambda one: one[0])
        words = [
            [show_seconds(time.median) for result in (a, b) if (time := result.seconds(phase))]
            for phase in ("predict", "predict_one")
        ]
        yield Topic(
            f"{a.name} predicts many flowers faster than {b.name}, and one flower more slowly. "
            "Why, and which of the two would you put behind a web page?",
            f"{a.case.model}: {words[0][0]} against {words[0][1]} for {show_rows(a.case.rows)} rows, "
            f"{words[1][0]} against {words[1][1]} for one.",
        )
