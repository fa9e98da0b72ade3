"""The report itself: what the templates show, and the files that are written for one or several runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from benchmarks.results.environment import Machine
from benchmarks.results.runs import Run
from benchmarks.units import show_memory, show_rows, show_seconds
from reports import charts, discussion, output, raw, tables, verdict
from reports.cards import Card, cards
from reports.discussion import Topic
from reports.results import DRIFT, Probe, median, moved, probes, results
from reports.scaling import Law
from reports.styles import ordered
from reports.tables import Table
from reports.verdict import Answer, Contender, Question

TEMPLATES = Path(__file__).parent / "templates"
MOST_NAMED = 2


@dataclass(frozen=True)
class Asked:
    """A question with its answers, and what is to be said before them."""

    question: Question
    words: str
    first: list[str]
    answers: list[Answer]


@dataclass(frozen=True)
class Part:
    """What the report says about one run. `files` are the names of the figures, in their order."""

    name: str
    facts: str
    warnings: list[str]
    frameworks: list[str]
    figures: list[charts.Figure]
    files: list[str]
    scaling: list[Table]
    topics: list[Topic]
    cards: list[Card]
    tables: list[Table]
    care: list[tuple[str, str]]
    launches: str
    install_cost: Table | None
    recipes: list[Table]
    failures: list[tuple[str, str, str]]
    conditions: list[Table]
    empty: bool


@dataclass(frozen=True)
class Report:
    """Everything that is shown: the question with its answers for each model, and the runs, one after another.

    `library` is what draws charts in the page; it is on its way while the rest is reckoned.
    """

    title: str
    asked: list[Asked]
    parts: list[Part]
    contenders: list[Contender]
    runs: Sequence[Run]
    library: Future[str]


def make(runs: Sequence[Run]) -> Report:
    """The report of the runs, in which nothing of one run is mixed with another's."""
    # Vega, Vega-Lite and Vega-Embed as one script, so that the page needs no network.
    loader = ThreadPoolExecutor(1)
    library = loader.submit(vl_convert.javascript_bundle, "window.vegaEmbed = vegaEmbed;")
    loader.shutdown(wait=False)
    found = verdict.contenders(runs)
    models = list(dict.fromkeys(one.model for one in found))
    first = verdict.default_question(found)
    asked = [ask(verdict.default_question(found, model), found) for model in models]
    asked.sort(key=lambda one: one.question.model != first.model)
    parts = [
        _part(run, [one for one in found if one.run == run.name], f"{number}-" * (len(runs) > 1))
        for number, run in enumerate(runs, start=1)
    ]
    return Report("irisbench: " + ", ".join(run.name for run in runs), asked, parts, found, runs, library)


def ask(question: Question, found: Sequence[Contender]) -> Asked:
    """The answers to a question, and the question in words."""
    ranked = verdict.ranking(question, found)
    track = "" if question.track == "tuned" else f" by its {question.track} recipe"
    words = (
        f"Which framework trains the {question.model} on {show_rows(question.rows)} rows within "
        f"{show_seconds(question.seconds, 3)}, {verdict.CLOCKS[question.clock].name}, to the target quality{track}?"
    )
    return Asked(question, words, verdict.enough(question, ranked), ranked)


def write(report: Report, folder: Path) -> Path:
    """Writes report.html, report.md, results.csv and figures/ into `folder`, and returns the path of the page.

    BadInput if the folder is in use. OSError if there is no room.
    """
    drawings = {
        f"figures/{file}.svg": figure.specification
        for part in report.parts
        for figure, file in zip(part.figures, part.files, strict=True)
    }
    with ThreadPoolExecutor(1) as artist:  # draws while the page is written
        drawn = artist.map(vl_convert.vegalite_to_svg, drawings.values())
        results_csv = raw.results_csv(report.runs)
        files = {
            "results.csv": results_csv,
            "report.md": _render("report.md.j2", report),
            "report.html": _render("report.html.j2", report, results_csv),
            **dict(zip(drawings, drawn, strict=True)),
        }
    output.write(folder, report.runs, files)
    return folder / "report.html"


def _part(run: Run, contenders: Sequence[Contender], prefix: str) -> Part:
    """Everything about one run; the files of its figures begin with `prefix`."""
    order = ordered(record.case.framework for record in run.records)
    found = sorted(results(run.records), key=lambda result: order.index(result.case.framework))
    models = list(dict.fromkeys(record.case.model for record in run.records))
    figures = charts.figures(run, contenders)
    shown = {result.case.framework for result in found if not result.failure} - {"baseline"}
    crossings = discussion.crossings(contenders)
    return Part(
        name=run.name,
        facts=_facts(run),
        warnings=_warnings(run),
        frameworks=[name for name in order if name in shown],
        figures=figures,
        files=[prefix + figure.name for figure in figures],
        scaling=tables.scaling(contenders, crossings),
        topics=discussion.topics(found, crossings),
        cards=cards(run),
        tables=[table for model in models for table in tables.measured(model, found)],
        care=tables.care(found),
        launches=tables.launches(found),
        install_cost=tables.install_cost(run),
        recipes=tables.recipes(found),
        failures=tables.failures(run),
        conditions=tables.conditions(run),
        empty=not run.records,
    )


def _warnings(run: Run) -> list[str]:
    """What the run warns of, and whether its machine moved."""
    return [*run.environment.warnings, *_drift(probes(run.records))]


def _drift(found: Sequence[Probe]) -> list[str]:
    middle = median(probe.seconds for probe in found)
    far = sorted(moved(found), key=lambda probe: -abs(probe.seconds - (middle or 0)))
    if not middle or not far:
        return []
    named = [
        f"{_percent(probe.seconds / middle - 1)} at minute {probe.minutes:.0f}, before {probe.title}"
        for probe in far[:MOST_NAMED]
    ]
    more = f"; and {len(far) - MOST_NAMED} more" if len(far) > MOST_NAMED else ""
    return [
        f"The machine moved during this run: {len(far)} of {len(found)} probes are more than {DRIFT:.0%} from their "
        f"median ({'; '.join(named)}{more}). Times measured there are to be taken with care.".replace("%", " %")
    ]


def _percent(share: float) -> str:
    return f"{abs(share):.0%} {'slower' if share > 0 else 'faster'}"


def _facts(run: Run) -> str:
    """Machine, threads, date and commit in one line, as far as they are known."""
    machine, git = run.environment.machine or Machine(), run.environment.git
    cores = machine.usable_cores or machine.cores
    threads = sorted({record.case.threads for record in run.records})
    known = [
        machine.processor,
        f"{cores} cores" if cores else None,
        show_memory(machine.memory_bytes) if machine.memory_bytes else None,
        machine.system,
        f"{' or '.join(map(str, threads))} thread{'s' * (threads != [1])} for each framework" if threads else None,
        (run.environment.started or "")[:16].replace("T", " "),
        f"commit {git.commit[:10]}{' with changes' * git.dirty}" if git.commit else None,
    ]
    return " · ".join(str(fact) for fact in known if fact)


def _embedded(report: Report) -> Markup:
    """What the page answers questions from: contenders, clocks, and the question to begin with."""
    first = report.asked[0].question if report.asked else Question("mlp", 1_000_000)
    data = {
        "question": asdict(first),
        "clocks": {name: clock.name for name, clock in verdict.CLOCKS.items()},
        "contenders": [_contender(one) for one in report.contenders],
    }
    return _json(data)


def _contender(one: Contender) -> dict[str, Any]:
    laws = {clock: _law(law) for clock, law in one.times.items()}
    sizes = [_finite(asdict(size)) for size in one.sizes]
    return {**vars(one), "sizes": sizes, "times": laws, "memory": _law(one.memory)}


def _law(law: Law | str) -> dict[str, Any] | None:
    return None if isinstance(law, str) else {**vars(law), "samples": law.samples.tolist()}


def _finite(value: Any) -> Any:
    """The value with None for what has no end, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return None if value == math.inf else value


def _json(value: Any) -> Markup:
    """JSON in which no text can end the script element that holds it."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))


def _render(template: str, report: Report, results_csv: str = "") -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = _markdown
    environment.filters["json"] = _json
    page = {}
    if template == "report.html.j2":
        page = {
            "data": _embedded(report),
            "csv": raw.packed(results_csv),
            "records": raw.packed(raw.records_json(report.runs)),
            "library": Markup(report.library.result()),
            **{
                name.partition(".")[0]: Markup((TEMPLATES / name).read_text())
                for name in ("style.css", "question.js", "page.js")
            },
        }
    return environment.get_template(template).render(report=report, **page)


def _markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)
