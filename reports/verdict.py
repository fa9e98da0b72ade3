"""The three questions of the project, answered from records: does a framework scale, and if not, why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records import Record
from benchmarks.statistics import show_seconds
from reports.statistics import Result, show_share

YES, NO, NOT_KNOWN = "yes", "no", "not known"
SECONDS = 30.0
"""How long the report allows loading and training to take."""


@dataclass(frozen=True)
class Question:
    """Does it train `model` on `rows` rows, within `seconds`, to `accuracy`? None is the target that its record has."""

    model: str
    rows: int
    seconds: float = SECONDS
    accuracy: float | None = None
    track: str = "tuned"


@dataclass(frozen=True)
class Answer:
    """yes, no or not known, and the sentence that says why."""

    verdict: str
    reason: str


NOT_MEASURED = Answer(NOT_KNOWN, "not measured")


def answers(question: Question, framework: str, results: Sequence[Result]) -> tuple[Answer, Answer, Answer]:
    """Completes; completes in time; completes in time and accurately.

    Where a run has the case with several numbers of threads or seeds, the one with the most yes answers.
    """
    wanted = (framework, question.model, question.rows, question.track)
    given = [
        (completes(result), in_time(result, question), accurate(result, question))
        for result in results
        if (result.case.framework, result.case.model, result.case.rows, result.case.track) == wanted
    ]
    return max(given, key=lambda three: sum(answer.verdict == YES for answer in three), default=(NOT_MEASURED,) * 3)


def completes(result: Result) -> Answer:
    """Question 1: does it run to completion?"""
    if result.failure:
        # What was never tried here is no failing of the framework.
        verdict = NOT_KNOWN if result.outcome == "unavailable" else NO
        return Answer(verdict, _which(result) + sentence(result.failure))
    return Answer(YES, "every phase ended")


def in_time(result: Result, question: Question) -> Answer:
    """Question 2: does it run to completion, loading and training within the seconds of the question?"""
    if result.failure:
        return completes(result)
    time = _time(result)
    if time is None:
        return Answer(NOT_KNOWN, "its record has no time of load and train")
    seconds, parts = time
    took = (
        f"load and train took {show_seconds(seconds, 3)} of the {show_seconds(question.seconds, 3)} allowed ({parts})"
    )
    return Answer(YES if seconds <= question.seconds else NO, took)


def accurate(result: Result, question: Question) -> Answer:
    """Question 3: and is the model that it trained then at least as accurate as the question asks?"""
    time = in_time(result, question)
    if result.failure:
        return time
    accuracy = result.quality("accuracy")
    if accuracy is None:
        return time if time.verdict == NO else Answer(NOT_KNOWN, "its record has no accuracy")
    if question.accuracy is None:
        wanted, reached, name = result.quality("target_accuracy") or 0.0, not result.below_target, "the target"
    else:
        wanted, reached, name = question.accuracy, accuracy >= question.accuracy, "the asked"
    digits = 4 if reached or show_share(accuracy) != show_share(wanted) else 7
    verb = "reaches" if reached else "is below"
    quality = f"accuracy {show_share(accuracy, digits)} {verb} {name} {show_share(wanted, digits)}"
    if not reached:
        return Answer(NO, quality + (f"; {time.reason}" if time.verdict == NO else ""))
    return time if time.verdict != YES else Answer(YES, f"{quality}, and {time.reason}")


def sentence(record: Record) -> str:
    """What happened to a case that did not end well, in one line: timeout in train: more than 60 s."""
    reason = " ".join((record.reason or "").split("\n", 1)[0].split())
    if record.outcome == "unavailable" and reason:
        return reason
    where = f" in {record.phase}" if record.phase else ""
    return f"{record.outcome}{where}: {reason or 'no reason was recorded'}"


def _which(result: Result) -> str:
    bad = sum(record.outcome != "ok" for record in result.records)
    return f"{bad} of {len(result.records)} launches: " if len(result.records) > 1 and bad < len(result.records) else ""


def _time(result: Result) -> tuple[float, str] | None:
    """Seconds of load and train, sum of the medians, and the sum in words."""
    load, train = result.seconds("load"), result.seconds("train")
    if load is None or train is None:
        return None
    parts = f"load {show_seconds(load.median)} + train {show_seconds(train.median)}"
    return load.median + train.median, parts
