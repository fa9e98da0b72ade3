"""The report itself: what the templates show, and the files that are written for a run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from benchmarks.records import PHASES, Quality, Record
from commandline import BadInput, check_folder
from reports import charts, verdict
from reports.load import Run
from reports.statistics import (
    Result,
    median_seconds,
    peak_memory_bytes,
    results,
    show_memory,
    show_rows,
    show_seconds,
    show_share,
    show_spread,
)

QUALITY = tuple(Quality.__dataclass_fields__)
SHOWN_PHASES = ("load", "train", "predict", "predict_one")


@dataclass(frozen=True)
class Verdicts:
    """The three questions about one model, and a row of three answers for each framework."""

    model: str
    questions: tuple[str, str, str]
    rows: list[tuple[str, tuple[verdict.Answer, ...]]]


@dataclass(frozen=True)
class Table:
    """Words in rows and columns; `struck` are the numbers of the rows that are below target."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    struck: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Part:
    """What the report says about one run."""

    name: str
    facts: str
    verdicts: list[Verdicts]
    figures: list[charts.Figure]
    files: list[str]
    tables: list[Table]
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
        verdicts=[verdicts for model in models for verdicts in _verdicts(model, found)],
        figures=figures,
        files=[prefix + figure.name for figure in figures],
        tables=[_table(model, [result for result in found if result.case.model == model]) for model in models],
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


def _table(model: str, own: Sequence[Result]) -> Table:
    """A row for each framework and size; columns that would say the same on every row are left out."""
    varied = [name for name in ("track", "threads", "seed") if len({getattr(r.case, name) for r in own}) > 1]
    columns = [
        "framework",
        "rows",
        *varied,
        "outcome",
        "load",
        "train",
        "threads used",
        "predict",
        "predict one",
        "peak memory",
        "accuracy",
        "target",
        "Bayes accuracy",
        "log-loss",
    ]
    rows = []
    for result in own:
        outcome = result.outcome + (", below target" if result.below_target else "")
        times = [show_spread(time) if (time := result.seconds(phase)) else "–" for phase in SHOWN_PHASES]
        peak = result.peak_memory_bytes
        qualities = [
            show_share(value) if (value := result.quality(name)) is not None else "–"
            for name in ("accuracy", "target_accuracy", "bayes_accuracy", "log_loss")
        ]
        rows.append(
            [
                result.case.framework,
                show_rows(result.case.rows),
                *(str(getattr(result.case, name)) for name in varied),
                outcome,
                *times[:2],
                f"{threads:.1f}" if (threads := result.threads_used) is not None else "–",
                *times[2:],
                show_memory(peak) if peak is not None else "–",
                *qualities,
            ]
        )
    return Table(model, columns, rows, frozenset(number for number, result in enumerate(own) if result.below_target))


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
    """Which case, the sentence, and the whole reason. What a framework lacks in every case is said once."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for number, record in enumerate(run.records):
        if record.outcome != "ok":
            always = record.outcome in ("unavailable", "unsupported")
            key = (record.case.framework, record.reason or "") if always else (str(number),)
            groups.setdefault(key, []).append(record)
    return [
        (
            f"{first.case}, {first.case.threads} threads, launch {first.launch}"
            if len(group) == 1
            else f"{first.case.framework}, {len(group)} cases",
            verdict.sentence(first),
            first.reason or "",
        )
        for group in groups.values()
        for first in group[:1]
    ]


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
    return tables


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
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _amount(name: str, value: Any) -> str:
    return show_memory(value) if name.endswith("_bytes") and isinstance(value, int) else _word(value)


def _write_csv(runs: Sequence[Run], path: Path) -> None:
    """A line for each record of each run; times are medians in seconds, memory is in bytes."""
    columns = ["run", "framework", "model", "rows", "track", "threads", "seed", "launch", "outcome", "phase", "reason"]
    columns += [f"{phase}_seconds" for phase in PHASES] + [*QUALITY, "peak_memory_bytes"]
    columns += ["train_cpu_seconds", "train_span_seconds", "first_prediction_seconds", "wall_seconds", "model_bytes"]
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for run in runs:
            for record in run.records:
                case = record.case
                table.writerow(
                    [
                        run.name,
                        case.framework,
                        case.model,
                        case.rows,
                        case.track,
                        case.threads,
                        case.seed,
                        record.launch,
                    ]
                    + [record.outcome, record.phase, record.reason]
                    + [median_seconds(record, phase) for phase in PHASES]
                    + [getattr(record.quality, name) if record.quality else None for name in QUALITY]
                    + [peak_memory_bytes(record)]
                    + [getattr(record.phases.get("train"), f"{kind}_seconds", None) for kind in ("cpu", "span")]
                    + [record.first_prediction_seconds]
                    + [record.wall_seconds, record.model_bytes]
                )


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
