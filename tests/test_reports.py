"""A report shows what the records contain, including failures, hostile text and missing parts."""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.results import runs
from benchmarks.results.records import FILE
from benchmarks.units import show_memory, show_rows
from errors import BadInput
from reports import charts, load, page, styles, terminal
from reports.results import moved, probes, results, show_estimate, standings
from tests.factories import EVERYTHING, HOSTILE, SECONDS, make_run, probed, record, rich_record, run

ROOT = Path(__file__).parent.parent


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reports", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
    )


class Markup(HTMLParser):
    """The elements of a page, its text outside scripts and styles, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.words = self.styles = self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.inside == "style":
            self.styles += data
        else:
            self.words += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    environment = {
        "started": "2025-11-02T10:00:00+00:00",
        "machine": {"processor": "Some CPU", "usable_cores": 2, "memory_bytes": 24 * 2**30, "system": "Linux"},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "settings": {"time_limit_s": 60, "memory_limit_bytes": 8 * 2**30},
        "frameworks": {"h2o": {"version": "3.46", "reason": None}, "pytorch-gpu": {"reason": "no CUDA device"}},
        "java": "17.0.15",
    }
    folder = make_run(tmp_path_factory.mktemp("reports") / "everything", EVERYTHING, environment)
    page.write(page.make(load.runs([folder])), folder)
    return folder


@pytest.fixture(scope="module")
def markup(written):
    return Markup((written / "report.html").read_text(encoding="utf-8"))


def test_the_page_names_every_framework_and_every_reason(markup):
    for one in EVERYTHING:
        assert one.case.framework in markup.words
        assert (one.reason or "").split("\n")[0] in markup.words
    for fact in ("Some CPU", "24 GiB", "2025-11-02 10:00", "commit 0123456789", "17.0.15", "cross-validation"):
        assert fact in markup.words


def test_hostile_text_is_shown_and_never_executed(written, markup):
    assert "alert('gotcha')" in markup.words
    assert not any("gotcha" in text for kind, text in markup.scripts if kind != "application/json")
    assert "<script>" not in (written / "report.md").read_text(encoding="utf-8")


def test_the_page_makes_no_requests(markup):
    for _, attributes in markup.elements:
        assert not {"src", "srcset", "action", "data"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    assert "http" not in markup.styles and "url(" not in markup.styles and "@import" not in markup.styles
    policy = next(attributes["content"] for _, attributes in markup.elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "http" not in policy


def test_the_charts_of_the_page_are_specifications_without_addresses(markup):
    specifications = [json.loads(text) for kind, text in markup.scripts if kind == "application/json"]
    drawn = [one for one in specifications if "config" in one]
    assert len(drawn) >= 12
    assert all("layer" in one or "facet" in one for one in drawn)
    assert not any("$schema" in one for one in drawn)


def test_results_below_target_are_struck_through_and_named(written, markup):
    assert sum("struck" in (attributes.get("class") or "") for _, attributes in markup.elements) == 3
    assert "ok, below target: accuracy 0.7450, at least 0.9780" in markup.words
    assert "ok, below target: log-loss 0.0612, at most 0.0580" in markup.words
    assert "~~0.745~~" in (written / "report.md").read_text(encoding="utf-8")


def test_the_table_has_a_line_for_each_record_with_its_medians(written):
    with (written / "results.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["outcome"] for line in lines] == [one.outcome for one in EVERYTHING]
    assert float(lines[1]["train_seconds"]) == statistics.median(SECONDS["train"])
    assert float(lines[1]["accuracy"]) == 0.98
    assert lines[5]["reason"] == HOSTILE and lines[5]["train_seconds"] == ""


def test_every_figure_is_a_drawing_with_a_title_and_units(written):
    names = {path.stem for path in (written / "figures").iterdir()}
    kinds = {"train", "accuracy", "log-loss", "memory", "first-prediction", "throughput", "latency"}
    assert {f"{kind}-mlp" for kind in kinds} | {"train-logistic", "tracks-logistic"} <= names
    for name in names:
        assert "<svg" in (written / "figures" / f"{name}.svg").read_text(encoding="utf-8")


def test_every_chart_has_a_table_behind_it(written):
    report = page.make(load.runs([written]))
    for figure in report.parts[0].figures:
        figure.chart.to_dict(validate=True)
        columns, rows = figure.table
        assert len(columns) >= 2 and rows and all(len(row) == len(columns) for row in rows), figure.name
    table = next(figure for figure in report.parts[0].figures if figure.name == "train-mlp").table
    assert ["scikit-learn", "1,000", "tuned", "2"] in [row[:4] for row in table[1]]


def test_a_failure_is_drawn_at_its_rows_with_its_outcome():
    whole = run(EVERYTHING)
    text = json.dumps(charts.train_chart(results(EVERYTHING), "mlp", styles.of_run(whole), 60.0).to_dict())
    assert "spark: timeout" in text and "h2o: out-of-memory" in text and "tensorflow-cpu: failed" in text
    assert "spark: skipped" not in text


def test_frameworks_differ_in_colour_and_mark_and_added_ones_have_their_own_or_a_spare_style():
    plum = {"colour": "#7B4B94", "mark": "triangle-left"}
    about = {"frameworks": {"theirs": {"style": plum}, "spark": {"style": plum}}}
    added = [record(name) for name in ("theirs", "one", "two", "three", "spark")]
    found = styles.of_run(run(added, about))
    assert found["theirs"] == ("#7B4B94", "triangle-left")
    assert found["spark"] == styles.STYLES["spark"]
    ours_and_added = styles.STYLES | found
    for part in (0, 1):
        assert len({style[part] for style in ours_and_added.values()}) == len(ours_and_added)


def test_the_charts_of_a_run_show_an_added_framework_in_the_style_of_its_environment(tmp_path):
    about = {"frameworks": {"theirs": {"style": {"colour": "#123456", "mark": "wedge"}}}}
    (loaded,) = load.runs([make_run(tmp_path / "run", [record("theirs"), record()], about)])
    drawn = json.dumps([figure.specification for figure in charts.figures(loaded, [])])
    assert "#123456" in drawn and "wedge" in drawn


@pytest.mark.parametrize("style", [{"colour": "red; }", "mark": "wedge"}, {"colour": "#123456", "mark": "M0,0"}, {}])
def test_an_invalid_style_in_a_received_run_is_rejected(tmp_path, style):
    about = {"frameworks": {"theirs": {"style": style}}}
    with pytest.raises(BadInput, match="style"):
        load.runs([make_run(tmp_path / "run", [record("theirs")], about)])


def test_launches_are_combined_and_cases_are_not():
    first, second = results([record(), record(launch=2, times={"train": (2.0,)}), record(rows=150)])[::-1]
    train = first.seconds("train")
    assert (train.count, train.launches, train.median) == (4, 2, 1.75)
    assert second.case.rows == 150 and second.seconds("train").count == 3
    assert show_estimate(second.seconds("train")) == "1.5 s (1 – 9 s)"


def launches(framework, seconds, **more):
    """Return two launches. The second one is not scored, as for the real flowers."""
    near = {"times": {"train": (seconds, 1.01 * seconds, 0.99 * seconds)}, **more}
    return [record(framework, **near), replace(record(framework, launch=2, **near), quality=None)]


def test_training_is_ranked_among_cases_that_reached_their_target():
    found = standings(
        results(
            [
                *launches("scikit-learn", 1.0),
                *launches("pytorch-cpu", 1.02),
                *launches("spark", 12.0),
                *launches("h2o", 0.1, accuracy=0.745),
                record("tensorflow-cpu", times={"train": (5.0,)}),
                *launches("scikit-learn", 1.0, rows=150),
                record("spark", rows=150, outcome="timeout", phase="train"),
            ]
        )
    )
    words = {case.framework: standing for case, standing in found.items() if case.rows == 1000}
    assert words == {
        "scikit-learn": "fastest",
        "pytorch-cpu": "no difference seen",
        "spark": "12 times as long",
        "tensorflow-cpu": "5 times as long, untested",
    }
    assert [standing for case, standing in found.items() if case.rows == 150] == ["the only one"]


def test_a_launch_that_is_not_scored_does_not_change_the_quality():
    (result,) = results(launches("spark", 1.0))
    assert result.quality("accuracy") == 0.98 and not result.below_target
    assert results(launches("spark", 1.0, accuracy=0.5))[0].below_target


def test_a_change_of_the_machine_speed_is_found_with_its_launch():
    launched = [probed(minute, 0.040, launch=minute) for minute in range(1, 9)]
    launched.append(probed(10, 0.050, framework="h2o"))
    found = probes([*launched, record(launch=10), replace(record(launch=11), started="noon", probe_seconds=(1.0,))])
    assert [probe.minutes for probe in found] == [*range(8), 9]
    (slow,) = moved(found)
    assert (slow.record.case.framework, slow.seconds) == ("h2o", 0.05)
    assert moved(found[:8]) == moved([]) == []


def test_a_machine_with_a_steady_speed_gives_no_warning(tmp_path):
    steady = [probed(minute, 0.04, launch=minute + 1) for minute in range(4)]
    (part,) = page.make(load.runs([make_run(tmp_path / "rest", steady, {"warnings": []})])).parts
    assert part.warnings == [] and "probe" in [figure.name for figure in part.figures]


def test_few_calls_have_no_p99():
    (few,) = results([record(times={"predict_one": (0.3,) * 7})])
    assert few.doubt("predict_one") == "too few: 7 calls, and a p99 wants 100"
    assert results([record()])[0].doubt("predict_one") is None


def test_memory_and_rows_are_shown_with_units():
    assert [show_memory(value) for value in (3.4 * 2**30, 2**29)] == ["3.4 GiB", "512 MiB"]
    assert [show_rows(value) for value in (150, 10_000, 10_000_000)] == ["150", "10,000", "10 M"]


def test_several_runs_are_reported_side_by_side_with_their_names(tmp_path):
    one = make_run(tmp_path / "monday" / "run", [record()])
    two = make_run(tmp_path / "tuesday" / "run", [record(times={"train": (5.0,)})])
    done = command(one, two, "--output", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'both' / 'report.html'}"
    words = Markup((tmp_path / "both" / "report.html").read_text(encoding="utf-8")).words
    assert f"Run {one}" in words and f"Run {two}" in words
    with (tmp_path / "both" / "results.csv").open(newline="", encoding="utf-8") as file:
        assert [line["train_seconds"] for line in csv.DictReader(file)] == ["1.5", "5.0"]
    assert {"1-train-mlp.svg", "2-train-mlp.svg"} <= {path.name for path in (tmp_path / "both" / "figures").iterdir()}


def test_the_terminal_shows_the_first_question_its_answers_and_the_path(tmp_path):
    shown = io.StringIO()
    report = page.make(load.runs([make_run(tmp_path / "run", EVERYTHING)]))
    terminal.show(report, Path("report.html"), Console(file=shown, width=200))
    lines = shown.getvalue().splitlines()
    assert lines[0].startswith("Which framework trains the mlp on 1,000 rows within 30 s")
    for one in report.asked[0].answers:
        assert any(one.contender.name in line and one.verdict in line for line in lines)
    assert lines[-1] == "report: report.html"


def test_a_run_without_records_gets_a_page_that_says_so(tmp_path):
    folder = make_run(tmp_path / "empty", [])
    assert (
        "no records yet" in Markup(page.write(page.make(load.runs([folder])), folder).read_text(encoding="utf-8")).words
    )


def test_a_run_in_which_nothing_worked_gets_a_page(tmp_path):
    bad = [one for one in EVERYTHING if one.outcome != "ok"]
    folder = make_run(tmp_path / "bad", bad, {"machine": {}, "git": {}, "settings": {}})
    assert (
        "train took longer than the 60 s allowed"
        in Markup(page.write(page.make(load.runs([folder])), folder).read_text(encoding="utf-8")).words
    )


@pytest.mark.parametrize(
    "damage", ["missing", "no records file", "no json", "no record", "bad value", "bad environment", "bad setting"]
)
def test_a_folder_that_is_not_a_run_gives_a_message_of_one_line(tmp_path, damage):
    folder = tmp_path / "run"
    if damage != "missing":
        folder.mkdir()
    if damage not in ("missing", "no records file"):
        bad_value = record().to_json().replace('"rows": 1000', '"rows": "many"')
        text = {"no json": "{", "no record": "[]", "bad value": bad_value}.get(damage, record().to_json())
        (folder / FILE).write_text(text + "\n")
    if damage == "bad environment":
        (folder / "environment.json").write_text("[1]")
    if damage == "bad setting":
        (folder / "environment.json").write_text('{"settings": {"time_limit_s": "soon"}}')
    with pytest.raises(BadInput) as told:
        load.runs([folder])
    assert str(folder) in str(told.value) and "\n" not in str(told.value)


def test_a_folder_that_is_not_a_run_gives_exit_code_2(tmp_path):
    done = command(tmp_path / "nowhere")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_reason_with_escape_codes_and_invalid_characters_is_shown_without_them(tmp_path):
    folder = make_run(
        tmp_path / "odd", [record(outcome="failed", phase="train", reason="\x1b[31mcaf\udce9\x00 closed")]
    )
    assert (
        "caf?? closed" in Markup(page.write(page.make(load.runs([folder])), folder).read_text(encoding="utf-8")).words
    )


def test_an_output_that_is_a_file_gives_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "taken").touch()
    done = command(make_run(tmp_path / "run", [record()]), "--output", tmp_path / "taken")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_the_newest_run_is_where_latest_points_as_a_link_or_a_text_file(tmp_path):
    newest = make_run(tmp_path / "runs" / "newest", [])
    with pytest.raises(BadInput, match="no run yet"):
        runs.newest(tmp_path / "latest")
    (tmp_path / "latest").write_text("runs/newest\n")
    assert runs.newest(tmp_path / "latest") == newest
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to("runs/newest")
    assert runs.newest(tmp_path / "latest").samefile(newest)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Return the folder of a report whose run has every kind of measurement."""
    environment = {
        "warnings": ["frequency scaling is on", HOSTILE],
        "frameworks": {
            "h2o": {"version": "3.46", "adoption": {"packages": 7, "megabytes": 312.4, "adapter_lines": 120}},
            "spark": {"version": "4.3", "adoption": None},
        },
    }
    found = [
        rich_record(framework, launch, 10 * launch + shift, 0.040 if launch < 3 else 0.060)
        for launch in (1, 2, 3)
        for shift, framework in enumerate(("h2o", "spark"))
    ]
    folder = make_run(tmp_path_factory.mktemp("rich") / "rich", found, environment)
    page.write(page.make(load.runs([folder])), folder)
    return folder


def test_every_fact_of_a_run_is_on_the_page_and_in_the_text(rich):
    words = " ".join(Markup((rich / "report.html").read_text(encoding="utf-8")).words.split())
    text = (rich / "report.md").read_text(encoding="utf-8")
    for fact in (
        "frequency scaling is on",
        "2 of 6 probes are more than 10 % from their median (50 % slower at minute 20, before h2o mlp 1,000 rows",
        "megabytes on disk",
        "312",
        "OpenBLAS 0.3",
        "What the harness itself took",
        "memory when started",
        "of that the JVM",
        "GPU memory",
        "512 MiB",
        "launched 3 times",
        "20 µs, 20 µs, 20 µs",
        "+0.007",
    ):
        assert fact in words and fact in text.replace("\\", ""), fact
    assert words.count("frequency scaling is on") == 2


def test_the_table_has_every_measurement_of_a_run(rich):
    with (rich / "results.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    first = lines[0]
    assert len(lines) == 6
    assert float(first["train_median"]) == 4.0 and first["train_stability"] == "stable"
    assert float(first["train_low"]) <= 4.0 <= float(first["train_high"])
    assert first["load_stability"] == "stable" and first["predict_stability"].startswith("noisy: deviation")
    assert float(first["predict_one_p50"]) == float(first["predict_one_p99"]) == 2e-5
    assert [int(first[f"memory_{name}_bytes"]) for name in ("baseline", "data")] == [100 * 2**20, 200 * 2**20]
    assert int(first["train_jvm_memory_bytes"]) == 2 * 2**30 and float(first["train_jvm_cpu_seconds"]) == 6.0
    assert float(first["harness_startup_seconds"]) == 0.5
    assert float(first["log_loss_above_bayes"]) == pytest.approx(0.007)
    assert [float(line["probe_seconds"]) for line in lines] == [0.04] * 4 + [0.06] * 2


def test_a_mark_next_to_a_number_has_its_rule_as_a_title(rich):
    elements = Markup((rich / "report.html").read_text(encoding="utf-8")).elements
    rules = {attributes["title"] for tag, attributes in elements if tag == "abbr"}
    assert rules == {"noisy: deviation 55 % is over 10 %"}
