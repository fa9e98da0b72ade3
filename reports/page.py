"""The report itself: what the templates show, and the files that are written for a run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from benchmarks.records import PHASES, Case, Harness, Memory, Quality, Record
from benchmarks.runs import Run, is_number
from benchmarks.statistics import show_seconds
from commandline import BadInput, check_folder
from reports import charts, verdict
from reports.load import clean
from reports.statistics import (
    DRIFT,
    Probe,
    Result,
    median,
    median_seconds,
    moved,
    peak_memory_bytes,
    probes,
    results,
    show_estimate,
    show_memory,
    show_rows,
    show_share,
    standings,
)

SHOWN_PHASES = ("load", "train", "predict", "predict_one")
UNKNOWN = "–"
MOST_NAMED = 5


@dataclass(frozen=True)
class Verdicts:
    """The three questions about one model, and a row of three answers for each framework."""

    model: str
    questions: tuple[str, str, str]
    rows: list[tuple[str, tuple[verdict.Answer, ...]]]


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


@dataclass(frozen=True)
class Part:
    """What the report says about one run."""

    name: str
    facts: str
    warnings: list[str]
    verdicts: list[Verdicts]
    figures: list[charts.Figure]
    files: list[str]
    tables: list[Table]
    care: list[tuple[str, str]]
    launches: str
    adoption: Table | None
    recipes: list[Table]
    failures: list[tuple[str, str, str]]
    conditions: list[Table]
    empty: bool


def write(runs: Sequence[Run], output: Path) -> Path:
    """Writes report.html, report.md, results.csv and figures/ into `output`, and returns the path of the page."""
    check_folder(output)
    try:
        (output / "figures").mkdir(parents=True, exist_ok=True)
        parts = [part(run, prefix=f"{number}-" if len(runs) > 1 else "") for number, run in enumerate(runs, start=1)]
        for one in parts:
            for figure, file in zip(one.figures, one.files, strict=True):
                figure.chart.save(output / "figures" / f"{file}.svg")
                figure.chart.save(output / "figures" / f"{file}.png", scale_factor=2)
        _write_csv(runs, output / "results.csv")
        (output / "report.md").write_text(_render("report.md.j2", parts), encoding="utf-8", errors="replace")
        page = output / "report.html"
        page.write_text(_render("report.html.j2", parts), encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInput(
            f"the report cannot be written into {output} ({error}). Name another folder with --output"
        ) from None
    return page


def part(run: Run, prefix: str = "") -> Part:
    """Everything about one run; the files of its figures begin with `prefix`."""
    order = charts.ordered(record.case.framework for record in run.records)
    found = sorted(results(run.records), key=lambda result: order.index(result.case.framework))
    models = list(dict.fromkeys(record.case.model for record in run.records))
    figures = charts.figures(run)
    return Part(
        name=run.name,
        facts=_facts(run),
        warnings=_warnings(run),
        verdicts=[verdicts for model in models for verdicts in _verdicts(model, found)],
        figures=figures,
        files=[prefix + figure.name for figure in figures],
        tables=[table for model in models for table in _tables(model, found)],
        care=_care(found),
        launches=_launches(found),
        adoption=_adoption(run),
        recipes=_recipes(found),
        failures=_failures(run),
        conditions=_conditions(run),
        empty=not run.records,
    )


def _verdicts(model: str, found: Sequence[Result]) -> Iterable[Verdicts]:
    """One table for each track, at the largest size that the model was tried on."""
    own = [result for result in found if result.case.model == model]
    tracks = sorted({result.case.track for result in own}, reverse=True)
    for track in tracks:
        here = [result for result in own if result.case.track == track]
        question = verdict.Question(model, max(result.case.rows for result in here), track=track)
        targets = {result.quality("target_accuracy") for result in here if result.case.rows == question.rows} - {None}
        target = f" ({show_share(targets.pop() or 0)})" if len(targets) == 1 else ""
        yield Verdicts(
            f"{model}, {track} recipes" if len(tracks) > 1 or track != "tuned" else model,
            (
                f"Does it run to completion on {show_rows(question.rows)} rows?",
                f"Within {show_seconds(question.seconds)}, load and train together?",
                f"Within {show_seconds(question.seconds)}, and as accurate as the target{target}?",
            ),
            [
                (framework, verdict.answers(question, framework, here))
                for framework in dict.fromkeys(result.case.framework for result in found)
            ],
        )


def _tables(model: str, found: Sequence[Result]) -> list[Table]:
    """Times and accuracy, then memory and threads: a row for each framework and size.

    Columns that would say the same on every row are left out.
    """
    own = [result for result in found if result.case.model == model]
    varied = [name for name in ("track", "threads", "seed") if len({getattr(r.case, name) for r in own}) > 1]
    names = ["framework", "rows", *varied]
    cases: list[list[str | Shaky]] = [
        [result.case.framework, show_rows(result.case.rows), *(str(getattr(result.case, name)) for name in varied)]
        for result in own
    ]
    standing = standings(own)
    times = [
        *("outcome", "training beside the fastest", "load", "train", "predict", "predict one: p50, p95, p99"),
        *("accuracy", "target", "Bayes accuracy", "log-loss", "above Bayes"),
    ]
    sizes = [
        *("memory when started", "with the data", "at most in training", "of that the JVM", "of that Python"),
        *("GPU memory", "peak memory", "threads: load", "threads: train", "threads: predict", "model"),
    ]
    below = frozenset(number for number, result in enumerate(own) if result.below_target)
    rows = [case + _times(result, standing) for case, result in zip(cases, own, strict=True)]
    measured = [case + _sizes(result) for case, result in zip(cases, own, strict=True) if not result.failure]
    tables = [Table(model, [*names, *times], rows, below)]
    if measured:
        tables.append(_told(Table(f"{model}: memory and threads", [*names, *sizes], measured)))
    return tables


def _times(result: Result, standing: dict[Case, str]) -> list[str | Shaky]:
    outcome = result.outcome + (", below target" if result.below_target else "")
    qualities = [result.quality(name) for name in ("accuracy", "target_accuracy", "bayes_accuracy", "log_loss")]
    gap = result.log_loss_gap
    return [
        outcome,
        standing.get(result.case, UNKNOWN),
        *(_time(result, phase) for phase in SHOWN_PHASES),
        *(_shown(show_share, value) for value in qualities),
        _shown(lambda value: f"{value:+.2g}", gap),
    ]


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


def _told(table: Table) -> Table:
    """The table without the columns in which nothing is known."""
    kept = [number for number in range(len(table.columns)) if any(row[number] != UNKNOWN for row in table.rows)]
    rows = [[row[number] for number in kept] for row in table.rows]
    return Table(table.title, [table.columns[number] for number in kept], rows, table.struck)


def _care(found: Sequence[Result]) -> list[tuple[str, str]]:
    """The cases with numbers to take with care, and which and why."""
    cases = []
    for result in found:
        rules = [f"{phase.replace('_', ' ')} {rule}" for phase in SHOWN_PHASES if (rule := result.doubt(phase))]
        if rules:
            cases.append((str(result.case), "; ".join(rules)))
    return cases


def _launches(found: Sequence[Result]) -> str:
    """What the number of launches means for the intervals."""
    numbers = sorted({len(result.records) for result in found if not result.failure})
    if not numbers:
        return ""
    if numbers == [1]:
        return "Every case was launched once: the intervals say how rounds differ, and nothing of how launches would."
    words = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
    return f"Every case was launched {words} times, and the intervals hold how the launches differ."


def _warnings(run: Run) -> list[str]:
    """What the run warns of, and whether its machine moved."""
    told = run.environment.get("warnings")
    known = [clean(str(line)) for line in told] if isinstance(told, list) else []
    return known + _drift(probes(run.records))


def _drift(found: Sequence[Probe]) -> list[str]:
    middle = median(probe.seconds for probe in found)
    far = sorted(moved(found), key=lambda probe: -abs(probe.seconds - (middle or 0)))
    if not middle or not far:
        return []
    named = [
        f"{_percent(probe.seconds / middle - 1)} at minute {probe.minutes:.0f}, before {probe.record.case}, "
        f"launch {probe.record.launch}"
        for probe in far[:MOST_NAMED]
    ]
    more = f"; and {len(far) - MOST_NAMED} more" if len(far) > MOST_NAMED else ""
    return [
        f"The machine moved during this run: {len(far)} of {len(found)} probes are more than {DRIFT:.0%} from their "
        f"median ({'; '.join(named)}{more}). Times measured there are to be taken with care.".replace("%", " %")
    ]


def _percent(share: float) -> str:
    return f"{abs(share):.0%} {'slower' if share > 0 else 'faster'}"


def _adoption(run: Run) -> Table | None:
    """What it takes to begin with each framework: packages, disk, lines of its adapter, and the first cold start."""
    known = [record for record in run.records if record.first_prediction_seconds is not None]
    rows = min((record.case.rows for record in known), default=0)
    about = run.facts("frameworks")
    lines = []
    for name in charts.ordered(record.case.framework for record in run.records):
        costs = about.get(name, {}).get("adoption") if isinstance(about.get(name), dict) else None
        values = [costs.get(key) for key in ("packages", "megabytes", "adapter_lines")] if costs else [None] * 3
        first = median(
            record.first_prediction_seconds or 0.0
            for record in known
            if record.case.framework == name and record.case.rows == rows
        )
        words = [f"{value:,.0f}" if is_number(value) else UNKNOWN for value in values]
        lines.append([name, *words, _shown(show_seconds, first)])
    lines = [line for line in lines if any(word != UNKNOWN for word in line[1:])]
    columns = ["framework", "packages", "megabytes on disk", "lines of its adapter"]
    cold = f"cold start to the first prediction, {show_rows(rows)} rows"
    return _told(Table("Cost to adopt", [*columns, cold], lines)) if lines else None


def _recipes(found: Sequence[Result]) -> list[Table]:
    """A table for each framework, model and track: a line for each setting, a column for each size."""
    groups: dict[str, list[Result]] = {}
    for result in found:
        if any(record.recipe for record in result.records):
            case = result.case
            groups.setdefault(f"{case.framework}, {case.model}, {case.track}", []).append(result)
    tables = []
    for title, group in groups.items():
        recipes = [next(record.recipe for record in result.records if record.recipe) for result in group]
        names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
        rows = [[name, *(_word(recipe[name]) if name in recipe else "–" for recipe in recipes)] for name in names]
        tables.append(Table(title, ["setting", *(f"{show_rows(result.case.rows)} rows" for result in group)], rows))
    return tables


def _failures(run: Run) -> list[tuple[str, str, str]]:
    """Which case, the sentence, and the whole reason. What a framework lacks, or each launch met, is said once."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in run.records:
        if record.outcome != "ok":
            always = record.outcome in ("unavailable", "unsupported")
            whose = record.case.framework if always else f"{record.case}, {record.case.threads} threads"
            groups.setdefault((whose, verdict.sentence(record), record.reason or ""), []).append(record)
    return [(f"{whose}, {_which(group)}", sentence, reason) for (whose, sentence, reason), group in groups.items()]


def _which(group: Sequence[Record]) -> str:
    """The cases of a group in words; of one case, its launches."""
    cases, launches = {record.case for record in group}, [str(record.launch) for record in group]
    if len(cases) > 1:
        return f"{len(cases)} cases"
    return f"launch{'es' * (len(launches) > 1)} {', '.join(launches)}"


def _conditions(run: Run) -> list[Table]:
    """How it was measured: whatever the environment of the run tells."""
    frameworks = run.facts("frameworks")
    rows = [
        [name, *(_word(about.get(key)) for key in ("version", "device", "reason"))]
        for name, about in frameworks.items()
        if isinstance(about, dict)
    ]
    tables = [Table("Frameworks", ["framework", "version", "device", "why it is not available"], rows)] if rows else []
    java = {"java": run.environment["java"]} if run.environment.get("java") else {}
    for title, facts in (
        ("Settings", run.facts("settings")),
        ("Machine", run.facts("machine")),
        ("Packages", {**run.facts("packages"), **java}),
    ):
        if facts:
            rows = [[name, _amount(name, value)] for name, value in facts.items()]
            tables.append(Table(title, [title.lower(), "value"], rows))
    return tables + _builds(run) + _harness(run)


def _builds(run: Run) -> list[Table]:
    """What the frameworks say of their own builds."""
    builds = {record.case.framework: record.build for record in reversed(run.records) if record.build}
    rows = [
        [name, setting.replace("_", " "), _word(value)]
        for name in charts.ordered(builds)
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
    for name in charts.ordered(known):
        own = known[name]
        spent = [sum(vars(harness).values()) for harness, _ in own]
        share = median(seconds / wall for seconds, (_, wall) in zip(spent, own, strict=True) if wall)
        medians = [median(getattr(harness, part) for harness, _ in own) for part in parts]
        words = [_shown(show_seconds, max(0.0, value or 0.0)) for value in (*medians, median(spent))]
        rows.append([name, *words, _shown("{:.0%}".format, share)])
    columns = ["framework", *(part.removesuffix("_seconds") for part in parts), "together", "of the wall time"]
    return [Table("What the harness itself took, in the median launch", columns, rows)] if rows else []


def _facts(run: Run) -> str:
    """Machine, threads, date and commit in one line, as far as they are known."""
    machine, git = run.facts("machine"), run.facts("git")
    memory = machine.get("memory_bytes")
    cores = machine.get("usable_cores") or machine.get("cores")
    threads = sorted({record.case.threads for record in run.records})
    known = [
        machine.get("processor"),
        f"{cores} cores" if cores else None,
        show_memory(memory) if isinstance(memory, int) else None,
        machine.get("system"),
        f"{' or '.join(map(str, threads))} thread{'s' * (threads != [1])} for each framework" if threads else None,
        str(run.environment.get("started") or "")[:16].replace("T", " "),
        f"commit {str(git['commit'])[:10]}{' with changes' * bool(git.get('dirty'))}" if git.get("commit") else None,
    ]
    return " · ".join(str(fact) for fact in known if fact)


def _word(value: Any) -> str:
    """A value of a recipe or an environment in words."""
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _amount(name: str, value: Any) -> str:
    return show_memory(value) if name.endswith("_bytes") and isinstance(value, int) else _word(value)


def _write_csv(runs: Sequence[Run], path: Path) -> None:
    """A line for each launch of each case of each run; times are in seconds, memory is in bytes.

    What ends in `_seconds` is the median of that launch. The median, interval, stability and percentiles are those of
    the case, over all its launches.
    """
    nobody = Record("", Case("", "", 1), "")
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictWriter(file, [*_launch_columns("", nobody), *_case_columns(Result(nobody.case, ()))])
        table.writeheader()
        for run in runs:
            cases = {result.case: _case_columns(result) for result in results(run.records)}
            for record in run.records:
                table.writerow(_launch_columns(run.name, record) | cases[record.case])


def _launch_columns(run: str, record: Record) -> dict[str, Any]:
    case, train = record.case, record.phases.get("train")
    return {
        "run": run,
        **vars(case),
        **{name: getattr(record, name) for name in ("launch", "outcome", "phase", "reason", "started")},
        "probe_seconds": median(record.probe_seconds),
        **{f"{phase}_seconds": median_seconds(record, phase) for phase in PHASES},
        **{name: getattr(record.quality, name, None) for name in Quality.__dataclass_fields__},
        "peak_memory_bytes": peak_memory_bytes(record),
        **{f"memory_{name}": getattr(record.memory, name, None) for name in Memory.__dataclass_fields__},
        **{
            f"train_{name}": getattr(train, name, None)
            for name in ("cpu_seconds", "span_seconds", "jvm_cpu_seconds", "jvm_memory_bytes", "gpu_memory_bytes")
        },
        **{f"harness_{name}": getattr(record.harness, name, None) for name in Harness.__dataclass_fields__},
        **{name: getattr(record, name) for name in ("first_prediction_seconds", "wall_seconds", "model_bytes")},
    }


def _case_columns(result: Result) -> dict[str, Any]:
    columns: dict[str, Any] = {"log_loss_above_bayes": result.log_loss_gap}
    for phase in SHOWN_PHASES:
        found = result.seconds(phase)
        columns |= {f"{phase}_{name}": getattr(found, name, None) for name in ("median", "low", "high")}
        columns[f"{phase}_stability"] = (result.doubt(phase) or "stable") if found else None
    shares = result.latencies or (None, None, None)
    return columns | dict(zip(("predict_one_p50", "predict_one_p95", "predict_one_p99"), shares, strict=True))


def _render(template: str, parts: Sequence[Part]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = _markdown
    environment.filters["specification"] = _specification
    title = "irisbench: " + ", ".join(part.name for part in parts)
    return environment.get_template(template).render(title=title, parts=parts, library=_library)


def _library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script, so that the page needs no network."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _specification(figure: charts.Figure) -> Markup:
    """The chart as JSON in which no text can end the script element that holds it."""
    values = figure.chart.to_dict()
    values.pop("$schema", None)
    return Markup(json.dumps(values).replace("<", "\\u003c"))


def _markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)
