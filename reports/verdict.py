"""The question of the project, answered from records: which framework does it, and if one does not, why not?

`reports/templates/question.js` answers the same questions in the page, word for word; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.cases import LARGEST_WARMUP
from benchmarks.results.environment import FrameworkFacts
from benchmarks.results.records import Record
from benchmarks.results.runs import Run
from benchmarks.statistics import NOISE_FLOOR
from benchmarks.units import show_memory, show_rows, show_seconds, show_share
from reports import scaling
from reports.results import Result, median, median_seconds, peak_memory_bytes, results
from reports.scaling import Law

YES, NO, NOT_KNOWN = "yes", "no", "not known"
SECONDS = 30.0
"""How long the report allows if nobody says otherwise."""
FLOWERS = 150
"""The real flowers: other data than the synthetic ones, so that nothing follows from them for another size."""

ONE_VALUE = 0.20
"""How far off a time is taken to be that was measured once, where places are given: twice what is called noisy."""
SETTLED = 100_000
"""From so many training rows on the target accuracies of the networks stay what they are."""
LEAST_SAMPLING = 10
"""So many times fewer rows than asked make a sample worth speaking of."""


@dataclass(frozen=True)
class Clock:
    """Which phases count, and what a sentence calls them."""

    name: str
    phases: tuple[str, ...]


CLOCKS = {
    "train": Clock("train", ("train",)),
    "warm": Clock("load and train", ("load", "train")),
    "cold": Clock("from a cold start, load and train", ("import", "start", "load", "train")),
}


@dataclass(frozen=True)
class Question:
    """Does it train `model` on `rows` rows, within `seconds`, to `accuracy`, in `memory` bytes?

    An accuracy of None is the target that each record has, which may limit the log-loss too. A memory of None is what
    the run allowed. `device` is cpu, gpu or any; `clock` is one of CLOCKS.
    """

    model: str
    rows: int
    seconds: float = SECONDS
    accuracy: float | None = None
    memory: int | None = None
    device: str = "any"
    clock: str = "warm"
    track: str = "tuned"


@dataclass(frozen=True)
class Span:
    """A cost, or an accuracy, lies between `low` and `high`, math.inf where nothing is known; `words` say how so.

    `value` is the best single number, None for bounds. `stopped`: it came to `low` and was ended there.
    """

    low: float
    high: float
    words: str
    value: float | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Size:
    """What a run says about one number of rows. `failure` is a verdict of no or not known, and its sentence.

    `times` are by the names of CLOCKS, `memory` is in bytes, `margin` is how far `accuracy` is above `target`.
    `log_loss` is the worst of the launches. `shortfall` says in words what failed the quality gate, if anything did.
    """

    rows: int
    failure: tuple[str, str] | None = None
    times: dict[str, Span] = field(default_factory=dict)
    memory: Span | None = None
    accuracy: Span | None = None
    margin: Span | None = None
    target: float | None = None
    log_loss: float | None = None
    log_loss_limit: float | None = None
    shortfall: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it ran out of time or memory, and so tells a bound and nothing else."""
        return any(span.stopped for span in (*self.times.values(), self.memory) if span)

    @property
    def failed_log_loss(self) -> bool:
        """Whether it failed the quality gate by its log-loss."""
        return bool(self.shortfall) and self.log_loss is not None and self.log_loss > _limit(self)


@dataclass(frozen=True)
class Contender:
    """A framework in a run with one model, track and number of threads, and its sizes, the smallest first.

    `name` is unique in the report: it has the number of threads if the run has several, and the run if there are
    several. `megabytes` is the size of the installation, and `weight` the same as text. `memory_limit` is in bytes.
    """

    name: str
    run: str
    framework: str
    model: str
    track: str
    threads: int
    device: str
    megabytes: float | None
    weight: str
    memory_limit: float | None
    sizes: tuple[Size, ...]
    times: dict[str, Law | str]
    memory: Law | str


@dataclass(frozen=True)
class Answer:
    """What is said of one contender: yes, no or not known, the sentence why, and the time if it is known.

    Those of the yes whose times cannot be told apart have the same `place`.
    """

    contender: Contender
    verdict: str
    reason: str
    time: Span | None = None
    place: int | None = None


def contenders(runs: Sequence[Run]) -> list[Contender]:
    """Return one contender for each run, framework, model, track and number of threads."""
    found = []
    for run in runs:
        groups: dict[tuple[str, str, str, int], list[Result]] = {}
        for result in results(run.records):
            case = result.case
            groups.setdefault((case.framework, case.model, case.track, case.threads), []).append(result)
        found += [_contender(run, group, f" in {run.name}" * (len(runs) > 1)) for group in groups.values()]
    return found


def default_question(found: Sequence[Contender], model: str | None = None) -> Question:
    """What the report asks before anybody else does: the largest size that the most contenders brought to an end."""
    models = list(dict.fromkeys(one.model for one in found))
    model = model or ("mlp" if "mlp" in models or not models else models[0])
    tracks = {one.track for one in found if one.model == model}
    track = "tuned" if "tuned" in tracks or not tracks else min(tracks)
    sizes = [size for one in found if (one.model, one.track) == (model, track) for size in one.sizes]
    ended: dict[int, int] = dict.fromkeys((size.rows for size in sizes), 0)
    for size in sizes:
        ended[size.rows] += not size.failure and not size.stopped
    return Question(model, max(ended, key=lambda rows: (ended[rows], rows), default=1_000_000), track=track)


def ranking(question: Question, found: Iterable[Contender]) -> list[Answer]:
    """An answer for each contender that the question is about: yes before not known before no, the fastest first.

    A yes has the place of the one before it where its interval, or NOISE_FLOOR around it, overlaps with that of the
    first at that place.
    """
    asked = [one for one in found if (one.model, one.track) == (question.model, question.track)]
    answers = [answer(question, one) for one in asked if question.device in ("any", one.device)]
    answers.sort(key=_order)
    placed: list[Answer] = []
    leader = None
    for number, one in enumerate(answers, start=1):
        if one.verdict == YES and one.time:
            doubt = ONE_VALUE if one.time.low == one.time.high else NOISE_FLOOR
            if leader is None or one.time.low > leader.high * (1 + doubt):
                leader, place = one.time, number
            one = replace(one, place=place)
        placed.append(one)
    return placed


def _order(one: Answer) -> tuple[int, float, str]:
    time = one.time
    middle = math.inf if time is None else time.high if time.value is None else time.value
    return (YES, NOT_KNOWN, NO).index(one.verdict), middle, one.contender.name


def enough(question: Question, ranked: Sequence[Answer]) -> list[str]:
    """What to say first: whether the lightest framework, or a sample of the rows, is enough. Most useful of all."""
    able = [one for one in ranked if one.verdict == YES and one.contender.framework != "baseline"]
    weighed = [
        (one.contender.megabytes, one.contender.name, one.contender.weight, one.reason)
        for one in able
        if one.contender.megabytes
    ]
    lines = []
    if len({one.contender.framework for one in able}) > 1 and len(weighed) == len(able):
        _, name, weight, reason = min(weighed)
        lines.append(f"{name} is enough, the lightest to install of those that can ({weight}): {reason}.")
    asked, log_loss_limit = question.accuracy, math.inf
    if asked is None and (like := _with_target(question, ranked)):
        asked, log_loss_limit = like.target, _limit(like)
    samples = [
        sample for one in ranked if asked and (sample := _sample(question, one.contender, asked, log_loss_limit))
    ]
    if samples:
        rows, seconds, name, words = min(samples)
        lines.append(
            f"A sample is enough: {show_rows(rows)} of the {show_rows(question.rows)} rows. "
            f"On them {name} needs {show_seconds(seconds, 3)}, and its {words}."
        )
    return lines


def _with_target(question: Question, ranked: Sequence[Answer]) -> Size | None:
    """Return the size whose target holds for the rows asked about: any contender's nearest that is no smaller."""
    known = [
        size
        for one in ranked
        for size in one.contender.sizes
        if size.target is not None and size.rows >= min(question.rows, SETTLED) and size.rows != FLOWERS
    ]
    return min(known, key=lambda size: (abs(size.rows - question.rows), size.target or 0.0, _limit(size)), default=None)


def _limit(size: Size) -> float:
    return math.inf if size.log_loss_limit is None else size.log_loss_limit


def _sample(
    question: Question, contender: Contender, asked: float, log_loss_limit: float
) -> tuple[int, float, str, str] | None:
    """The smallest part of the rows on which a contender does what is asked: rows, seconds, name, accuracy in words."""
    if contender.framework == "baseline":
        return None
    for size in contender.sizes:
        time = size.times.get(question.clock)
        if size.failure or not FLOWERS < size.rows <= question.rows / LEAST_SAMPLING or not time or not size.accuracy:
            continue
        roomy = all(verdict == YES for verdict, _ in _in_memory(question, size, contender))
        if size.log_loss is not None and size.log_loss > log_loss_limit:
            continue
        if roomy and size.accuracy.low >= asked and time.high <= question.seconds:
            words = f"accuracy {size.accuracy.words} reaches {show_share(asked)}"
            return size.rows, time.high if time.value is None else time.value, contender.name, words
    return None


def answer(question: Question, contender: Contender) -> Answer:
    """The answer for one contender. A no needs one reason; a yes needs all of time, accuracy and memory."""
    size = _size(contender, question)
    if size.failure:
        return Answer(contender, *size.failure)
    clauses = [*_in_time(question, size), *_accurate(question, size), *_in_memory(question, size, contender)]
    for verdict in (NO, NOT_KNOWN, YES):
        words = [words for own, words in clauses if own == verdict]
        if words:
            break
    return Answer(contender, verdict, "; ".join(words), size.times.get(question.clock))


Clauses = list[tuple[str, str]]


def _in_time(question: Question, size: Size) -> Clauses:
    time = size.times.get(question.clock)
    if time is None:
        name = CLOCKS[question.clock].name
        return [] if size.stopped else [(NOT_KNOWN, f"the time is not known: no record of {name}")]
    verdict = _within(time, question.seconds)
    close = "too close to call: " if verdict == NOT_KNOWN and time.value is not None else ""
    return [(verdict, f"{close}{time.words}, of {show_seconds(question.seconds, 3)} allowed")]


def _in_memory(question: Question, size: Size, contender: Contender) -> Clauses:
    """Nothing is said of a memory that nobody asked for, unless it may be more than the run allowed."""
    asked = question.memory is not None
    limit = question.memory if asked else contender.memory_limit
    if size.memory is None or limit is None:
        return [(NOT_KNOWN, "the memory is not known: no record of it")] if asked and not size.stopped else []
    verdict = _within(size.memory, limit)
    unknown = verdict == NOT_KNOWN and size.memory.high == math.inf
    if not asked and (verdict == YES or unknown):
        return []
    return [(verdict, f"{size.memory.words}, of {show_memory(limit)} allowed")]


def _within(span: Span, limit: float) -> str:
    if span.low > limit or (span.stopped and span.low == limit):
        return NO
    return YES if span.high <= limit else NOT_KNOWN


def _accurate(question: Question, size: Size) -> Clauses:
    if size.stopped:
        return []
    asked = question.accuracy
    span = size.margin if asked is None else size.accuracy
    if span is None or size.accuracy is None:
        return [(NOT_KNOWN, "the accuracy is not known: no record of it")]
    if asked is None and size.shortfall and span.value is not None:
        return [(NO, f"below target: {size.shortfall}")]
    if asked is None and size.shortfall and span.high >= 0:
        return [(NOT_KNOWN, f"whether it reaches the target is not known: {size.shortfall}")]
    least = asked or 0.0
    name = "the target" if asked is None else f"the asked {show_share(asked)}"
    if size.target is not None and asked is None:
        name += f" {show_share(size.target)}"
    told = size.accuracy.words
    if span.low >= least:
        return [(YES, f"accuracy {told} reaches {name}")]
    if span.high < least:
        exactly = size.accuracy.value
        if exactly is not None and told == show_share(asked if asked is not None else size.target or 0.0):
            told = show_share(exactly, 7)
        return [(NO, f"accuracy {told} is below {name}")]
    return [(NOT_KNOWN, f"whether the accuracy reaches {name} is not known: it is {told}")]


def sentence(record: Record) -> str:
    """What happened to a case that did not end well, in one line: timeout in train: more than 60 s."""
    reason = " ".join((record.reason or "").split("\n", 1)[0].split())
    if record.outcome == "unavailable" and reason:
        return reason
    where = f" in {record.phase}" if record.phase else ""
    return f"{record.outcome}{where}: {reason or 'no reason was recorded'}"


# What the records say of one size


def _contender(run: Run, group: Sequence[Result], of_run: str) -> Contender:
    case = group[0].case
    found: dict[int, Result] = {}
    for result in sorted(group, key=lambda result: -result.case.seed):
        found[result.case.rows] = result  # of several seeds, the smallest
    about = run.environment.framework(case.framework)
    megabytes = about.install_cost.megabytes if about.install_cost else None
    whole = {
        rows: result
        for rows, result in found.items()
        if rows != FLOWERS and not result.failure and not _streams(result)
    }
    return Contender(
        name=group[0].name + of_run,
        run=run.name,
        framework=case.framework,
        model=case.model,
        track=case.track,
        threads=case.threads,
        device="gpu" if is_on_gpu(case.framework, about) else "cpu",
        megabytes=megabytes,
        weight="" if megabytes is None else f"{megabytes:,.0f} MB",
        memory_limit=run.environment.settings.memory_limit_bytes,
        sizes=tuple(size for rows in sorted(found) if (size := _recorded(run, found[rows]))),
        times={
            # A training below its target counts in no ranking, and in no law.
            name: scaling.fit(
                {n: _sums(result, clock.phases) for n, result in whole.items() if not result.below_target}
            )
            for name, clock in CLOCKS.items()
            if name != "cold"  # what is done for the first time is not measured at every size
        },
        memory=scaling.fit({rows: _peaks(result) for rows, result in whole.items()}),
    )


def is_on_gpu(framework: str, about: FrameworkFacts) -> bool:
    """By what the environment of the run says of it, or else by its name."""
    return about.device == "cuda" or framework.endswith("-gpu")


def _streams(result: Result) -> bool:
    """Whether it learned from the disk, which follows another law than what is in memory."""
    return any(record.recipe.get("streamed") for record in result.records)


def _recorded(run: Run, result: Result) -> Size | None:
    """None for what was skipped: it follows from the smaller size."""
    failure, rows = result.failure, result.case.rows
    if failure is None:
        return _measured(result)
    bad = sum(record.outcome != "ok" for record in result.records)
    which = f"{bad} of {len(result.records)} launches: " if bad < len(result.records) else ""
    told = which + sentence(failure)
    if failure.outcome == "skipped":
        return None
    if failure.outcome == "unavailable":
        return Size(rows, (NOT_KNOWN, told))
    memory, time_limit = run.environment.settings.memory_limit_bytes, run.environment.settings.time_limit_s
    # A whole case that took too long tells nothing about one of its phases.
    of_phase = (failure.reason or "").startswith(f"{failure.phase} took longer")
    clocks = [name for name, clock in CLOCKS.items() if failure.phase in clock.phases]
    if failure.outcome == "timeout" and time_limit and of_phase and clocks:
        limit = show_seconds(time_limit, 3)
        words = f"{which}{failure.phase} was stopped after its {limit} at {show_rows(rows)} rows"
        return Size(rows, times=dict.fromkeys(clocks, Span(time_limit, math.inf, words, stopped=True)))
    if failure.outcome == "out-of-memory" and memory and "CUDA" not in (failure.reason or ""):
        return Size(rows, memory=Span(memory, math.inf, f"{told} (at {show_rows(rows)} rows)", stopped=True))
    return Size(rows, (NO, told))


def _measured(result: Result) -> Size:
    # The worst of the launches: each has to reach the target.
    scored = [record.quality for record in result.records if record.quality]
    accuracy = min((quality.accuracy for quality in scored), default=None)
    target, peak = result.quality("target_accuracy"), result.peak_memory_bytes
    margin = None if accuracy is None or target is None else accuracy - target
    return Size(
        result.case.rows,
        times={clock: span for clock in CLOCKS if (span := _time(result, clock))},
        memory=None if peak is None else Span(peak, peak, f"it held {show_memory(peak)}", peak),
        accuracy=None if accuracy is None else Span(accuracy, accuracy, show_share(accuracy), accuracy),
        margin=None if margin is None else Span(margin, margin, "", margin),
        target=target,
        log_loss=max((quality.log_loss for quality in scored), default=None),
        log_loss_limit=result.quality("log_loss_limit"),
        shortfall=result.shortfall,
    )


def _time(result: Result, clock: str) -> Span | None:
    """Seconds of the phases that count. Intervals of several phases are added end to end: wider than need be."""
    if clock == "cold":
        return _cold(result)
    name, phases = CLOCKS[clock].name, CLOCKS[clock].phases
    found = [estimate for phase in phases if (estimate := result.seconds(phase))]
    if len(found) < len(phases):
        return None
    value = sum(one.median for one in found)
    low = sum(one.median if one.low is None else one.low for one in found)
    high = sum(one.median if one.high is None else one.high for one in found)
    return Span(low, high, f"{name} took {_range(value, low, high)}", value)


def _cold(result: Result) -> Span | None:
    """The first time of each phase; of more rows than a first pass has, between those without it and with it."""
    name, phases = CLOCKS["cold"].name, CLOCKS["cold"].phases
    once, again = phases[:2], phases[2:]
    least, most = [], []
    for record in result.reliable(phases):
        first, later = _firsts(record, phases), [median_seconds(record, phase) for phase in again]
        if first and result.case.rows <= LARGEST_WARMUP:
            least.append(sum(first))
            most.append(sum(first))
        elif first and None not in later:
            least.append(sum(first[: len(once)]) + sum(one or 0.0 for one in later))
            most.append(sum(first) + sum(one or 0.0 for one in later))
    if not least:
        return None
    low, high = min(least), max(most)
    if least != most:
        return Span(low, high, f"{name} took between {show_seconds(low, 3)} and {show_seconds(high, 3)}")
    value = median(least) or 0.0
    return Span(low, high, f"{name} took {_range(value, low, high)}", value)


def _firsts(record: Record, phases: Sequence[str]) -> list[float] | None:
    """Seconds of each phase the first time in a launch."""
    known = [record.phases[phase] for phase in phases if phase in record.phases]
    first = [values[0] for phase in known if (values := phase.warmup_seconds or phase.seconds)]
    return first if len(first) == len(phases) else None


def _sums(result: Result, phases: Sequence[str]) -> list[float]:
    """Return the sum of the medians of the phases by launch. Flagged launches do not count if there are others."""
    found = [[median_seconds(record, phase) for phase in phases] for record in result.reliable(phases)]
    return [sum(value for value in values if value is not None) for values in found if None not in values]


def _peaks(result: Result) -> list[float]:
    return [float(peak) for record in result.records if (peak := peak_memory_bytes(record)) is not None]


def _range(value: float, low: float, high: float) -> str:
    words = show_seconds(value, 3)
    return words if low == high else f"{words} ({show_seconds(low, 3)} to {show_seconds(high, 3)})"


# What follows for any number of rows


def _size(contender: Contender, question: Question) -> Size:
    """What is known of so many rows: recorded, or predicted, or between what smaller and larger sizes came to."""
    rows = question.rows
    for size in contender.sizes:
        if size.rows == rows:
            return size
    for size in contender.sizes:
        # What is unavailable or unsupported is so at every size.
        if size.failure and (size.failure[0] == NOT_KNOWN or size.failure[1].startswith("unsupported")):
            return size
    for size in contender.sizes:
        if size.failure and FLOWERS < size.rows < rows:
            told = f"not measured at {show_rows(rows)} rows; at {show_rows(size.rows)} rows {size.failure[1]}"
            return Size(rows, (NOT_KNOWN, told))
    known = [size for size in contender.sizes if size.rows > FLOWERS and not size.failure]
    smaller, larger = [size for size in known if size.rows < rows], [size for size in known if size.rows > rows]
    if not known or rows <= FLOWERS:
        failed = next((f": {size.failure[1]}" for size in contender.sizes if size.failure), "")
        return Size(rows, (NOT_KNOWN, f"not measured at {show_rows(rows)} rows, nor near{failed}"))
    name = CLOCKS[question.clock].name
    stopped = any(size.stopped for size in smaller)
    times = [(size, size.times.get(question.clock)) for size in known]
    memories = [(size, size.memory) for size in known]
    time = None if stopped else _predicted(contender.times.get(question.clock), rows, larger, name, show_seconds)
    memory = None if stopped else _predicted(contender.memory, rows, larger, "memory", show_memory)
    time = time or _between(times, rows, name, show_seconds)
    memory = memory or _between(memories, rows, "memory", show_memory)
    near = [size for size in (*smaller[-1:], *larger[:1]) if size.accuracy]
    told = " and ".join(f"{size.accuracy.words} at {show_rows(size.rows)} rows" for size in near if size.accuracy)
    return Size(
        rows,
        times={question.clock: time} if time else {},
        memory=memory,
        accuracy=_rising(smaller, larger, told),
        margin=_margin(smaller, larger, told),
        shortfall=" and ".join(
            f"{size.shortfall} (at {show_rows(size.rows)} rows)" for size in near if size.failed_log_loss
        ),
    )


def _predicted(
    law: Law | str | None, rows: int, larger: Sequence[Size], name: str, show: Callable[[float], str]
) -> Span | None:
    found = law.at(rows) if isinstance(law, Law) else None
    if found is None or not isinstance(law, Law) or (larger and rows > law.largest):
        return None  # a larger size that was measured, and is not of the law, tells more
    words = f"predicted, not measured: {name} {show(found.value)} ({show(found.low)} to {show(found.high)})"
    return Span(found.low, found.high, words, found.value)


def _between(
    known: Sequence[tuple[Size, Span | None]], rows: int, name: str, show: Callable[[float], str]
) -> Span | None:
    """More rows cost no less: at least what each smaller size cost, at most what each larger one did."""
    below = max((span.low for size, span in known if span and size.rows < rows), default=0.0)
    above = min((span.high for size, span in known if span and size.rows > rows), default=math.inf)
    least = next((one for one in known if one[1] and one[0].rows < rows and one[1].low == below), None)
    most = next((one for one in known if one[1] and one[0].rows > rows and one[1].high == above < math.inf), None)
    if least and least[1] and least[1].stopped:
        return Span(below, above, least[1].words, stopped=True)
    parts = [f"at least the {show(below)} of {show_rows(least[0].rows)} rows"] if least else []
    parts += [f"at most the {show(above)} of {show_rows(most[0].rows)} rows"] if most else []
    return Span(below, above, f"not measured: {name} {' and '.join(parts)}") if parts else None


def _rising(smaller: Sequence[Size], larger: Sequence[Size], words: str) -> Span | None:
    """More rows make no model worse: its accuracy is between those of the nearest sizes."""
    below, above = _nearest(smaller, larger)
    ends = [size.accuracy.low for size in below + above if size.accuracy]
    if not ends:
        return None
    return Span(min(ends) if below else 0.0, max(ends) if above else 1.0, words)


def _margin(smaller: Sequence[Size], larger: Sequence[Size], words: str) -> Span | None:
    """How far the accuracy is above a target that lies between those of the nearest sizes."""
    below, above = _nearest(smaller, larger)
    accuracies = [size.accuracy.low for size in below + above if size.accuracy]
    targets = [size.target for size in below + above if size.target is not None]
    if not targets or not accuracies:
        return None
    settled = above or any(size.rows >= SETTLED for size in below)
    low = min(accuracies) - max(targets) if below and settled else -1.0
    return Span(low, max(accuracies) - min(targets) if above else 1.0, words)


def _nearest(smaller: Sequence[Size], larger: Sequence[Size]) -> tuple[list[Size], list[Size]]:
    """The largest of the smaller sizes and the smallest of the larger ones that have an accuracy."""
    return [size for size in smaller if size.accuracy][-1:], [size for size in larger if size.accuracy][:1]
