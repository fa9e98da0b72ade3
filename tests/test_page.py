"""The page in a real browser without a network gives the answers of Python and is accessible."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import random
import re
import shutil
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from benchmarks.results import records, runs
from benchmarks.results.records import Record
from reports import load, page, verdict
from reports.verdict import CLOCKS, Question
from tests.factories import ENVIRONMENT, EVERYTHING, HOSTILE, growing, make_run, record

PUBLISHED = sorted(path.parent for path in runs.REPORTS.glob("published/*/records.jsonl"))
QUESTIONS = 250
WIDTHS = (1440, 1024, 360)


CRAFTED = [
    *EVERYTHING,
    *growing("a framework of tomorrow", 0.5, 2e-6, 0.04, rows=(10_000, 100_000, 1_000_000, 10_000_000)),
    *growing("tensorflow-gpu", 3.0, 1e-7, 0.03),
    *growing("pytorch-cpu", 0.02, 3e-6, 0.05),
    *growing("pytorch-cpu", 0.2, 4e-5, 0.05, track="default"),
    *growing("scikit-learn", 0.01, 2e-6, 0.02, model="logistic", rows=(1_000, 100_000, 1_000_000, 10_000_000)),
    *(record("spark", "logistic", rows, log_loss=log_loss) for rows, log_loss in ((10_000, 0.06), (1_000_000, 0.05))),
]


@pytest.fixture(scope="module", params=["crafted", *(folder.name for folder in PUBLISHED)])
def folder(request, tmp_path_factory) -> Path:
    """Return the folder of a run with every outcome, and of each published run, for a report to be written into."""
    folder = tmp_path_factory.mktemp("page") / request.param
    if request.param == "crafted":
        return make_run(folder, CRAFTED, ENVIRONMENT)
    shutil.copytree(next(path for path in PUBLISHED if path.name == request.param), folder)
    return folder


@pytest.fixture(scope="module")
def report(folder) -> page.Report:
    made = page.make(load.runs([folder]))
    page.write(made, folder)
    return made


@pytest.fixture
def opened(browser: Browser, folder: Path, report):
    """Return a function that opens the page in a window. The test fails if the page makes an error or a request."""
    complaints: list[str] = []

    def opened(fragment: str = "", width: int = 1440, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, accept_downloads=True
        )
        tab = context.new_page()
        tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith("file:") else None)
        tab.goto(f"{(folder / 'report.html').as_uri()}{fragment}")
        tab.wait_for_selector("#controls:not([hidden])")
        return tab

    yield opened
    for context in browser.contexts:
        context.close()
    # A download and a copied chart are made of the page itself.
    assert [line for line in complaints if not line.startswith(("blob:", "data:"))] == []


def questions(report: page.Report):
    """Yield random questions about sizes that were measured and about other sizes."""
    draw = random.Random(0)
    found = report.contenders
    measured = sorted({size.rows for one in found for size in one.sizes})
    for _ in range(QUESTIONS):
        rows = draw.choice([draw.choice(measured), int(float(f"{10 ** draw.uniform(2, 9):.2g}"))])
        yield Question(
            model=draw.choice(sorted({one.model for one in found})),
            rows=rows,
            seconds=draw.choice([30.0, 60.0, 90.0, float(f"{10 ** draw.uniform(-2, 3):.3g}")]),
            accuracy=draw.choice([None, None, 0.978, round(draw.uniform(0.9, 0.985), 4)]),
            memory=draw.choice([None, None, 8 * 2**30, 16 * 2**30, int(2 ** draw.uniform(26, 36)), 1000]),
            device=draw.choice(["any", "any", "cpu", "gpu"]),
            clock=draw.choice(list(CLOCKS)),
            track=draw.choice(["tuned", "tuned", "default"]),
        )


def address(question: Question) -> str:
    return "#" + "&".join(f"{name}={value}" for name, value in asdict(question).items() if value is not None)


SHOWN = """() => ({
    answers: [...document.querySelectorAll("#answers .place")].map((place) => {
        const line = place.parentElement;
        const words = (one) => line.querySelector(one).textContent;
        return [place.textContent, words(".verdict"), words("strong"), words(".reason")];
    }),
    first: [...document.querySelectorAll("#first li")].map((line) => line.textContent),
})"""


def expected(question: Question, report: page.Report) -> dict[str, list]:
    ranked = verdict.ranking(question, report.contenders)
    return {
        "answers": [[str(one.place or ""), one.verdict, one.contender.name, one.reason] for one in ranked],
        "first": verdict.enough(question, ranked),
    }


def test_the_page_gives_the_same_answers_as_python(opened, report):
    tab = opened()
    verdicts = set()
    for question in questions(report):
        tab.evaluate("(hash) => { location.hash = hash; question = fromAddress(); show(); }", address(question))
        wanted = expected(question, report)
        assert tab.evaluate(SHOWN) == wanted, question
        verdicts |= {line[1] for line in wanted["answers"]}
    assert verdicts == {"yes", "no", "not known"}


def test_the_controls_change_the_question_the_ranking_and_the_address(opened, report):
    tab = opened()
    models = sorted({one.model for one in report.contenders})
    first = report.asked[0].question
    tab.get_by_label("Model", exact=True).select_option(models[-1])
    tab.get_by_label("Rows, slider").fill("5.3")
    tab.get_by_label("Seconds, exactly").fill("2.5")
    tab.get_by_label("Accuracy: the target, or at least").select_option("least")
    tab.get_by_label("Accuracy, exactly").fill("0.975")
    tab.get_by_label("Memory", exact=True).select_option(label="2 GiB")
    tab.get_by_label("Device", exact=True).select_option("cpu")
    tab.get_by_label("What counts", exact=True).select_option("train")
    question = Question(models[-1], 200_000, 2.5, 0.975, 2 * 2**30, "cpu", "train", first.track)
    assert tab.evaluate(SHOWN) == expected(question, report)
    assert "200,000" in tab.text_content("#asked") and "2.5 s" in tab.text_content("#asked")
    tab.wait_for_function("location.hash.includes('clock=train')")
    again = opened(tab.evaluate("location.hash"))
    assert again.evaluate("question") == asdict(question)
    assert again.evaluate(SHOWN) == expected(question, report)
    again.get_by_text("Ask the first question again").click()
    assert again.evaluate(SHOWN) == expected(first, report)


def test_invalid_input_gives_a_message_and_keeps_the_question(opened, report):
    tab = opened("#rows=-5&seconds=soon&model=nobody&device=abacus&accuracy=&memory=x")
    assert tab.evaluate("question") == asdict(report.asked[0].question)
    tab.get_by_label("Rows, exactly").fill("many")
    tab.get_by_label("Rows, exactly").press("Enter")
    assert "is no number" in tab.get_by_role("alert").text_content()
    assert tab.evaluate(SHOWN) == expected(report.asked[0].question, report)


def test_a_moved_slider_is_answered_at_once(opened, report):
    tab = opened()
    shown = tab.evaluate(f"""() => {{
        const slider = document.getElementById("seconds-slider");
        slider.value = -1;
        slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
        return ({SHOWN})();
    }}""")
    assert shown == expected(replace(report.asked[0].question, seconds=0.1), report)


def test_every_chart_is_drawn_and_a_switch_hides_a_framework_in_all_of_them(opened, report):
    tab = opened()
    model = report.asked[0].question.model
    figures = [figure for figure in report.parts[0].figures if figure.model in (model, None)]
    tab.wait_for_function(f"document.querySelectorAll('figure:not([hidden]) svg.marks').length === {len(figures)}")
    colour = tab.evaluate("""() => {
        const marks = [...document.querySelectorAll('#train-' + question.model + ' svg .mark-symbol path')];
        return marks.map((mark) => mark.getAttribute('fill')).find((fill) => fill && fill.startsWith('#'));
    }""")
    count = f"document.querySelectorAll('#train-{model} svg .role-mark path[fill=\"{colour}\"]').length"
    before = tab.evaluate(count)
    for switch in tab.locator(".switches input").all():
        switch.uncheck()
    tab.wait_for_function(f"{count} === 0")
    assert before > 0


def test_the_downloads_are_the_records(opened, report, folder):
    tab = opened()
    found = {}
    for name in ("records.json", "results.csv"):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=name).click()
        assert download.value.suggested_filename == name
        found[name] = Path(download.value.path()).read_bytes().decode()
    written = [replace(one, run=folder.name) for one in records.read(folder)]
    assert [Record.from_json(json.dumps(one)) for one in json.loads(found["records.json"])] == written
    assert found["results.csv"] == (folder / "results.csv").read_bytes().decode()
    assert len(list(csv.DictReader(io.StringIO(found["results.csv"])))) == len(written)


def test_the_keyboard_alone_reaches_every_control(opened):
    tab = opened()
    wanted = tab.evaluate("""() => [...document.querySelectorAll(
        "#controls :is(input, select, button):not([hidden]), .switches input, #downloads button, summary")]
        .filter((one) => one.checkVisibility() && !one.closest(".vega-embed"))
        .map((one, number) => (one.dataset.wanted = number))""")
    reached = set()
    for _ in range(3 * len(wanted) + 60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.dataset.wanted"))
    assert {str(number) for number in wanted} <= reached
    tab.get_by_label("Rows, slider").focus()
    before = tab.evaluate("question.rows")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("question.rows") > before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem(opened, scheme):
    tab = opened(scheme=scheme)
    tab.wait_for_function("document.querySelectorAll('figure:not([hidden]) svg.marks').length > 3")
    problems = [one for one in Axe().run(tab).response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in problems] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(opened, width):
    tab = opened(width=width)
    tab.wait_for_function("document.querySelectorAll('figure:not([hidden]) svg.marks').length > 3")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_text_does_not_overlap_in_the_ranking(opened):
    for width in WIDTHS:
        tab = opened(width=width)
        boxes = tab.evaluate("""() => [...document.querySelectorAll("#answers li")].map((line) =>
            [...line.children].filter((one) => one.textContent).map((one) => {
                const range = document.createRange();
                range.selectNodeContents(one);
                const { left, right, top, bottom } = range.getBoundingClientRect();
                return [left, right, top, bottom];
            }))""")
        for line in boxes:
            for one, other in combinations(line, 2):
                apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
                assert apart, (width, one, other)


def test_the_printed_handout_has_at_most_4_pages(opened, report):
    tab = opened()
    tab.wait_for_function("document.querySelectorAll('figure:not([hidden]) svg.marks').length > 3")
    printed = tab.pdf(prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 4


def test_the_page_is_smaller_than_5_mib(folder, report):
    assert (folder / "report.html").stat().st_size < 5 * 2**20


def test_hostile_text_is_shown_and_not_executed(browser, tmp_path):
    nasty = record(HOSTILE, HOSTILE, outcome="failed", phase="train", reason=HOSTILE, track=HOSTILE)
    folder = make_run(tmp_path / "nasty", [nasty, record()], {"frameworks": {HOSTILE: {"version": HOSTILE}}})
    page.write(page.make(load.runs([folder])), folder)
    dialogs: list[str] = []
    tab = browser.new_page()
    tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    tab.goto((folder / "report.html").as_uri())
    for model in tab.locator("select[name=model] option").all():
        tab.select_option("select[name=model]", model.get_attribute("value"))
    tab.wait_for_timeout(500)
    assert dialogs == [] and "alert('gotcha')" in tab.text_content("main")
    tab.close()


@pytest.mark.parametrize("records", [[], [record(outcome="unavailable", reason="not here")], [record()]])
def test_a_run_with_at_most_one_record_gives_a_page(browser, tmp_path, records):
    folder = make_run(tmp_path / "little", records)
    page.write(page.make(load.runs([folder])), folder)
    errors: list[str] = []
    tab = browser.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((folder / "report.html").as_uri())
    tab.wait_for_timeout(300)
    assert errors == [] and tab.text_content("h1") == "irisbench: little"
    tab.close()


def test_the_same_records_give_the_same_bytes(folder, report, tmp_path):
    page.write(page.make(load.runs([folder])), tmp_path)
    for name in ("report.html", "report.md", "results.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def unpacked(text: str) -> str:
    """Return the page with its two compressed parts decompressed, because builds of zlib compress differently."""
    return re.sub(
        r'(<script type="text/plain" id="\w+">)([\w+/=]+)',
        lambda found: found[1] + gzip.decompress(base64.b64decode(found[2])).decode(),
        text,
    )


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_report_agrees_with_its_records(published, tmp_path):
    page.write(page.make(load.runs([published])), tmp_path)
    made, kept = (unpacked((folder / "report.html").read_text()) for folder in (tmp_path, published))
    assert len(made) > 10**6 and made == kept
    for name in ("report.md", "results.csv"):
        assert (tmp_path / name).read_bytes() == (published / name).read_bytes()
    figures = [{path.name for path in (folder / "figures").iterdir()} for folder in (tmp_path, published)]
    assert figures[0] == figures[1]


def test_one_page_answers_for_two_runs(browser, tmp_path):
    folders = [
        make_run(tmp_path / "laptop", list(growing("scikit-learn", 0.1, 2e-6, 0.02)), ENVIRONMENT),
        make_run(tmp_path / "gpu-box", list(growing("pytorch-gpu", 2.0, 1e-8, 0.02)), ENVIRONMENT),
    ]
    report = page.make(load.runs(folders))
    page.write(report, tmp_path / "both")
    tab = browser.new_page()
    tab.goto((tmp_path / "both" / "report.html").as_uri())
    assert tab.evaluate(SHOWN) == expected(report.asked[0].question, report)
    assert {line[2] for line in tab.evaluate(SHOWN)["answers"]} == {"scikit-learn in laptop", "pytorch-gpu in gpu-box"}
    tab.close()


def test_one_page_answers_for_two_numbers_of_threads(browser, tmp_path):
    launches = [*growing("spark", 0.5, 2e-6, 0.02, threads=1), *growing("spark", 0.5, 1e-6, 0.02, threads=2)]
    folder = make_run(tmp_path / "threads", launches, ENVIRONMENT)
    report = page.make(load.runs([folder]))
    page.write(report, folder)
    tab = browser.new_page()
    tab.goto((folder / "report.html").as_uri())
    shown = tab.evaluate(SHOWN)
    assert shown == expected(report.asked[0].question, report)
    assert [line[2] for line in shown["answers"]] == ["spark, 2 threads", "spark, 1 thread"]
    tab.close()
