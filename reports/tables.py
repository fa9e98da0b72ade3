"""The tables of the report: what the records say, in words, in rows and columns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.cases import Case
from benchmarks.results.environment import InstallCost
from benchmarks.results.records import Harness, Memory, Record
from benchmarks.results.runs import Run
from benchmarks.units import show_memory, show_rows, show_seconds, show_share, show_threads
from reports.discussion import Crossing, round_rows, show_crossing
from reports.results import Result, have_several_threads, median, show_estimate, standings, title_of
from reports.scaling import REACH, Law
from reports.styles import ordered
from reports.verdict import SECONDS, Contender, sentence

SHOWN_PHASES = ("load", "train", "predict", "predict_one")
UNKNOWN = "–"
OF_THE_GATE = ("log-loss limit", "reference log-loss", "above reference")
"""Columns that records of schemas 1 and 2 know nothing of."""


@dataclass(frozen=True)
class Shaky:
    """A number to take with care: its words, and the rule that says so, which begins with a mark and a colon."""

    words: str
    rule: str

    @property
    def mark(self) -> str:
        return self.rule.partition(":")[0]

    def __str__(self) -> str:
        return f"{self.words} ({self.mark})"


@dataclass(frozen=True)
class Table:
    """Words in rows and columns; `struck` are the numbers of the rows that are below target."""

    title: str
    columns: list[str]
    rows: Sequence[Sequence[str | Shaky]]
    struck: frozenset[int] = frozenset()


def scaling(contenders: Sequence[Contender], crossings: Sequence[Crossing]) -> list[Table]:
    """How training grows with the rows, by the laws that could be fitted, and where two of them cross."""
    rows: list[list[str]] = []
    unknown: dict[str, list[str]] = {}
    several = len({one.threads for one in contenders}) > 1
    for one in contenders:
        threads = [str(one.threads)] * several
        if one.framework == "baseline" or all(size.failure for size in one.sizes):
            continue
        law, load = one.times["train"], one.times["warm"]
        if isinstance(law, str):
            who = f"{one.framework} {one.model}, {one.track}" + f", {show_threads(one.threads)}" * several
            unknown.setdefault(law, []).append(who)
            continue
        k, growing = law.exponent, law.c * law.largest**law.k
        rows.append(
            [
                *(one.framework, one.model, one.track, *threads),
                f"{show_seconds(law.startup)} + {show_seconds(growing)} at {show_rows(law.largest)} rows",
                f"{k.value:.2f} ({k.low:.2f} to {k.high:.2f})",
                _largest(load, SECONDS) if isinstance(load, Law) else UNKNOWN,
                _runs_out(one),
            ]
        )
    columns = ["framework", "model", "track", *["threads"] * several, "training: start-up + the rest", "exponent k"]
    columns += [f"most rows in {show_seconds(SECONDS)}, load and train", "memory runs out at"]
    made = [Table("How training grows", columns, rows)] if rows else []
    if unknown:
        reasons = [[why, "; ".join(who)] for why, who in unknown.items()]
        made.append(Table("Of which no law is known", ["why", "who"], reasons))
    if crossings:
        places = [[one.model, show_crossing(one), one.small, one.large] for one in crossings]
        made.append(Table("Where two change places", ["model", "at", "less rows: faster", "more rows: faster"], places))
    return made


def _largest(law: Law, budget: float) -> str:
    """The rows that a law allows for a budget, with two digits."""
    found = law.largest_within(budget)
    if found is None:
        return f"under {show_rows(law.smallest)}"
    reach = REACH * law.largest
    value, low, high = (
        f"over {show_rows(reach)}"
        if end == math.inf
        else show_rows(round_rows(end))
        if end >= law.smallest
        else f"under {show_rows(law.smallest)}"
        for end in (found.value, found.low, found.high)
    )
    return value if low == high else f"{value} ({low} to {high})"


def _runs_out(one: Contender) -> str:
    stopped = next((size.rows for size in one.sizes if size.memory and size.memory.stopped), None)
    if stopped:
        return f"{show_rows(stopped)} rows or before, measured"
    if isinstance(one.memory, str) or one.memory_limit is None:
        return UNKNOWN
    return _largest(one.memory, one.memory_limit)


def measured(model: str, found: Sequence[Result]) -> list[Table]:
    """Return the tables of times and quality, and of memory and threads: one row per case.

    The track and seed have a column if they vary in the table, and the threads if they vary in the run.
    """
    own = [result for result in found if result.case.model == model]
    several = any(result.several_threads for result in own)
    varied = [
        name
        for name in ("track", "threads", "seed")
        if len({getattr(result.case, name) for result in own}) > 1 or (name == "threads" and several)
    ]
    names = ["framework", "rows", *varied, "launches"]
    cases: list[list[str | Shaky]] = [
        [
            result.case.framework,
            show_rows(result.case.rows),
            *(str(getattr(result.case, name)) for name in varied),
            _launches(result),
        ]
        for result in own
    ]
    standing = standings(own)
    times = [
        *("outcome", "training beside the fastest", "load", "train", "predict", "predict one: p50, p95, p99"),
        *("accuracy", "target", "Bayes accuracy", "log-loss", "above Bayes"),
        *OF_THE_GATE,
    ]
    sizes = [
        *("memory when started", "with the data", "at most in training", "of that the JVM", "of that Python"),
        *("GPU memory", "peak memory", "threads: load", "threads: train", "threads: predict", "model"),
    ]
    below = frozenset(number for number, result in enumerate(own) if result.below_target)
    rows = [case + _times(result, standing) for case, result in zip(cases, own, strict=True)]
    measured = [case + _sizes(result) for case, result in zip(cases, own, strict=True) if not result.failure]
    tables = [_told(Table(model, [*names, *times], rows, below), OF_THE_GATE)]
    if measured:
        tables.append(_told(Table(f"{model}: memory and threads", [*names, *sizes], measured)))
    return tables


def _times(result: Result, standing: dict[Case, str]) -> list[str | Shaky]:
    outcome = result.outcome + (f", below target: {result.shortfall}" if result.below_target else "")
    qualities = [result.quality(name) for name in ("accuracy", "target_accuracy", "bayes_accuracy", "log_loss")]
    gap = result.log_loss_gap
    limits = [result.quality(name) for name in ("log_loss_limit", "reference_log_loss")]
    return [
        outcome,
        standing.get(result.case, UNKNOWN),
        *(_time(result, phase) for phase in SHOWN_PHASES),
        *(_shown(show_share, value) for value in qualities),
        _shown(_signed, gap),
        *(_shown(show_share, value) for value in limits),
        _shown(_signed, result.quality("log_loss_excess")),
    ]


def _launches(result: Result) -> str:
    """Return how many launches the numbers of a case are based on, with the phases that have fewer: "3 (train 2)"."""
    number = len(result.records)
    fewer = [
        f"{_words(phase)} {launches}" for phase in SHOWN_PHASES if 0 < (launches := len(result.values(phase))) < number
    ]
    return f"{number} ({', '.join(fewer)})" if fewer else str(number)


def _words(phase: str) -> str:
    return phase.replace("_", " ")


def _signed(value: float) -> str:
    return f"{value:+.2g}"


def _time(result: Result, phase: str) -> str | Shaky:
    """Seconds of a phase in words; those of one flower are told in percentiles."""
    found = result.seconds(phase)
    if found is None:
        return UNKNOWN
    shares = result.latencies if phase == "predict_one" else None
    words = ", ".join(map(show_seconds, shares)) if shares else show_estimate(found)
    rule = result.doubt(phase)
    return Shaky(words, rule) if rule else words


def _sizes(result: Result) -> list[str | Shaky]:
    memory = [getattr(result.memory, name, None) for name in Memory.__dataclass_fields__]
    shares = result.training_shares or (None, None)
    model_bytes = median(record.model_bytes for record in result.records if record.model_bytes is not None)
    return [
        *(_shown(show_memory, value) for value in (*memory, *shares)),
        _shown(show_memory, result.gpu_memory_bytes),
        _shown(show_memory, result.peak_memory_bytes),
        *(_shown("{:.1f}".format, result.threads_used(phase)) for phase in ("load", "train", "predict")),
        _shown(show_memory, model_bytes),
    ]


def _shown(show: Callable[[Any], str], value: Any) -> str:
    return UNKNOWN if value is None else show(value)


def _told(table: Table, columns: Sequence[str] | None = None) -> Table:
    """Return the table without the columns, or without those of `columns`, in which nothing is known."""
    known = {number for row in table.rows for number, cell in enumerate(row) if cell != UNKNOWN}
    kept = [
        number
        for number, name in enumerate(table.columns)
        if number in known or (columns is not None and name not in columns)
    ]
    rows = [[row[number] for number in kept] for row in table.rows]
    return Table(table.title, [table.columns[number] for number in kept], rows, table.struck)


def care(found: Sequence[Result]) -> list[tuple[str, str]]:
    """Return the cases that have unreliable numbers or flagged launches, each with its reasons."""
    cases = []
    for result in found:
        rules = [f"{_words(phase)} {rule}" for phase in SHOWN_PHASES for rule in _rules(result, phase)]
        if rules:
            cases.append((result.title, "; ".join(rules)))
    return cases


def _rules(result: Result, phase: str) -> list[str]:
    """Return why the number of a phase is not reliable, and how many of its launches are flagged."""
    doubt, flagged, number = result.doubt(phase), result.flagged(phase), len(result.phases(phase))
    rules = [doubt] if doubt else []
    if 0 < flagged < number:
        rules.append(f"flagged in {flagged} of {number} launches, which do not count")
    return rules


def launches(found: Sequence[Result]) -> str:
    """Return how many launches the cases have, and what their intervals therefore show."""
    numbers = sorted({len(result.records) for result in found if not result.failure})
    if not numbers:
        return ""
    if numbers == [1]:
        return "Every case was launched once, so the intervals show how repeats differ, but not how launches differ."
    words = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
    return f"Every case was launched {words} times, so the intervals show how launches differ."


def install_cost(run: Run) -> Table | None:
    """Return what each framework costs to install: packages, disk, lines of its adapter, and the first cold start.

    The cold start is at the smallest size, with the most threads if the run has several numbers.
    """
    known = [record for record in run.records if record.first_prediction_seconds is not None]
    threads = max((record.case.threads for record in known), default=0)
    known = [record for record in known if record.case.threads == threads]
    rows = min((record.case.rows for record in known), default=0)
    lines = []
    for name in ordered(record.case.framework for record in run.records):
        cost = run.environment.framework(name).install_cost or InstallCost()
        values = [cost.packages, cost.megabytes, cost.adapter_lines]
        first = median(
            record.first_prediction_seconds or 0.0
            for record in known
            if record.case.framework == name and record.case.rows == rows
        )
        words = [UNKNOWN if value is None else f"{value:,.0f}" for value in values]
        lines.append([name, *words, _shown(show_seconds, first)])
    lines = [line for line in lines if any(word != UNKNOWN for word in line[1:])]
    columns = ["framework", "packages", "megabytes on disk", "lines of its adapter"]
    several = have_several_threads(run.records)
    cold = f"cold start to the first prediction, {show_rows(rows)} rows" + f", {show_threads(threads)}" * several
    return _told(Table("Cost to adopt", [*columns, cold], lines)) if lines else None


def recipes(found: Sequence[Result]) -> list[Table]:
    """Return a table for each framework, model, track and number of threads: settings in rows, sizes in columns."""
    groups: dict[str, list[Result]] = {}
    for result in found:
        if any(record.recipe for record in result.records):
            case = result.case
            threads = f", {show_threads(case.threads)}" * result.several_threads
            groups.setdefault(f"{case.framework}, {case.model}, {case.track}{threads}", []).append(result)
    tables = []
    for title, group in groups.items():
        recipes = [next(record.recipe for record in result.records if record.recipe) for result in group]
        names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
        rows = [[name, *(_word(recipe[name]) if name in recipe else "–" for recipe in recipes)] for name in names]
        tables.append(Table(title, ["setting", *(f"{show_rows(result.case.rows)} rows" for result in group)], rows))
    return tables


def failures(run: Run) -> list[tuple[str, str, str]]:
    """Which case, the sentence, and the whole reason. What a framework lacks, or each launch met, is said once."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in run.records:
        if record.outcome != "ok":
            always = record.outcome in ("unavailable", "unsupported")
            whose = record.case.framework if always else title_of(record.case, several_threads=True)
            groups.setdefault((whose, sentence(record), record.reason or ""), []).append(record)
    return [(f"{whose}, {_which(group)}", sentence, reason) for (whose, sentence, reason), group in groups.items()]


def _which(group: Sequence[Record]) -> str:
    """The cases of a group in words; of one case, its launches."""
    cases, launches = {record.case for record in group}, [str(record.launch) for record in group]
    if len(cases) > 1:
        return f"{len(cases)} cases"
    return f"launch{'es' * (len(launches) > 1)} {', '.join(launches)}"


def conditions(run: Run) -> list[Table]:
    """How it was measured: whatever the environment of the run tells."""
    environment = run.environment
    rows = [
        [name, *map(_word, (facts.version, facts.device, facts.reason))]
        for name, facts in environment.frameworks.items()
    ]
    tables = [Table("Frameworks", ["framework", "version", "device", "why it is not available"], rows)] if rows else []
    settings = {name: value for name, value in asdict(environment.settings).items() if value is not None}
    java = {"java": environment.java} if environment.java else {}
    for title, facts in (
        ("Settings", settings),
        ("Machine", _machine(run)),
        ("Packages", environment.packages | java),
    ):
        if facts:
            rows = [[name, _amount(name, value)] for name, value in facts.items()]
            tables.append(Table(title, [title.lower(), "value"], rows))
    return tables + _builds(run) + _harness(run)


def _machine(run: Run) -> dict[str, Any]:
    """Return what is known of the machine; what the system did not say is unknown."""
    if run.environment.machine is None:
        return {}
    absent = {"memory_limit_bytes": "none"}
    facts = asdict(run.environment.machine)
    return {name: absent.get(name, "unknown") if value is None else value for name, value in facts.items()}


def _builds(run: Run) -> list[Table]:
    """What the frameworks say of their own builds."""
    builds = {record.case.framework: record.build for record in reversed(run.records) if record.build}
    rows = [
        [name, setting.replace("_", " "), _word(value)]
        for name in ordered(builds)
        for setting, value in builds[name].items()
    ]
    return [Table("Builds", ["framework", "build", "value"], rows)] if rows else []


def _harness(run: Run) -> list[Table]:
    """Seconds of a launch that were no phase's, and their share of its wall time: medians by framework."""
    known: dict[str, list[tuple[Harness, float | None]]] = {}
    for record in run.records:
        if record.harness and record.outcome == "ok":
            known.setdefault(record.case.framework, []).append((record.harness, record.wall_seconds))
    parts = list(Harness.__dataclass_fields__)
    rows = []
    for name in ordered(known):
        own = known[name]
        spent = [sum(vars(harness).values()) for harness, _ in own]
        share = median(seconds / wall for seconds, (_, wall) in zip(spent, own, strict=True) if wall)
        medians = [median(getattr(harness, part) for harness, _ in own) for part in parts]
        words = [_shown(show_seconds, max(0.0, value or 0.0)) for value in (*medians, median(spent))]
        rows.append([name, *words, _shown("{:.0%}".format, share)])
    columns = ["framework", *(part.removesuffix("_seconds") for part in parts), "together", "of the wall time"]
    return [Table("What the harness itself took, in the median launch", columns, rows)] if rows else []


def _word(value: Any) -> str:
    """A value of a recipe or an environment in words."""
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _amount(name: str, value: Any) -> str:
    return show_memory(value) if name.endswith("_bytes") and isinstance(value, int) else _word(value)
