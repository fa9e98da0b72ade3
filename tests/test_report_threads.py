"""A report of a run with several numbers of threads never mixes cases with different numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.results.records import Memory, Record
from reports import cards, charts, discussion, page, styles, tables, verdict
from reports.results import probes, results, standings
from reports.verdict import Question
from tests.factories import ENVIRONMENT, growing, probed, record, rich_record, run

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def with_threads(threads: int, **times: tuple[float, ...]) -> Record:
    """Return a record of scikit-learn at 10,000 rows, with exactly these seconds of load and train."""
    return record(rows=10_000, threads=threads, times={"load": (0.0,), **times})


BOTH = [with_threads(1, train=(8.0,)), with_threads(2, train=(4.0,))]


def specification(chart: Any) -> str:
    assert chart is not None
    return json.dumps(chart.to_dict())


def drawn(chart: Any, field: str) -> set[Any]:
    """Return the values of a field in all data of a chart."""
    specified = chart.to_dict()
    layers = [*specified.get("layer", ()), specified, specified.get("spec", {})]
    tables_of_points = [layer["data"].get("values", ()) for layer in layers if layer.get("data")]
    tables_of_points += specified.get("datasets", {}).values()
    return {point[field] for points in tables_of_points for point in points if field in point}


def test_each_number_of_threads_is_a_contender_with_its_own_time():
    found = verdict.contenders([run(BOTH)])
    assert [(one.name, one.threads) for one in found] == [
        ("scikit-learn, 1 thread", 1),
        ("scikit-learn, 2 threads", 2),
    ]
    ranked = verdict.ranking(Question("mlp", 10_000), found)
    assert [(one.contender.name, one.time.value if one.time else None) for one in ranked] == [
        ("scikit-learn, 2 threads", 4.0),
        ("scikit-learn, 1 thread", 8.0),
    ]


def test_a_run_with_one_number_of_threads_does_not_name_it():
    (contender,) = verdict.contenders([run(BOTH[:1])])
    assert contender.name == "scikit-learn"
    (table, *_) = tables.measured("mlp", results(BOTH[:1]))
    assert "threads" not in table.columns
    assert results(BOTH[:1])[0].title == "scikit-learn mlp 10,000 rows, tuned"


def test_a_name_has_the_threads_and_the_run_if_there_are_several_of_both():
    found = verdict.contenders([run(BOTH, name="laptop"), run(BOTH[:1], name="server")])
    assert [one.name for one in found] == [
        "scikit-learn, 1 thread in laptop",
        "scikit-learn, 2 threads in laptop",
        "scikit-learn in server",
    ]


def test_the_scaling_fit_of_each_number_of_threads_is_its_own():
    launches = [
        *growing("spark", 0.1, 2e-6, 0.02, SIZES, threads=1),
        *growing("spark", 0.1, 1e-6, 0.02, SIZES, threads=2),
    ]
    one, two = verdict.contenders([run(launches)])
    slow, fast = one.times["train"], two.times["train"]
    assert not isinstance(slow, str) and not isinstance(fast, str)
    assert slow.c * 1e6**slow.k == pytest.approx(2 * fast.c * 1e6**fast.k, rel=0.1)
    (table, *_) = tables.scaling([one, two], [])
    assert table.columns[:4] == ["framework", "model", "track", "threads"]
    assert [row[3] for row in table.rows] == ["1", "2"]


def test_contenders_without_a_fit_are_named_with_their_threads():
    (table,) = tables.scaling(verdict.contenders([run(BOTH)]), [])
    ((_, who),) = table.rows
    assert who == "scikit-learn mlp, tuned, 1 thread; scikit-learn mlp, tuned, 2 threads"


def test_the_same_framework_with_other_threads_is_not_the_lightest_of_several():
    values = {"frameworks": {"scikit-learn": {"install_cost": {"megabytes": 200}}}}
    question = Question("mlp", 10_000)
    assert verdict.enough(question, verdict.ranking(question, verdict.contenders([run(BOTH, values)]))) == []


def test_training_is_ranked_among_cases_with_the_same_number_of_threads():
    slower = record("spark", rows=10_000, threads=1, times={"train": (16.0,)})
    found = standings(results([*BOTH, slower]))
    assert {(case.framework, case.threads): standing for case, standing in found.items()} == {
        ("scikit-learn", 1): "fastest",
        ("spark", 1): "2 times as long, untested",
        ("scikit-learn", 2): "the only one",
    }


def test_the_tables_have_a_column_of_threads():
    for table in tables.measured("mlp", results(BOTH)):
        assert table.columns[:4] == ["framework", "rows", "threads", "launches"]
        assert [row[2] for row in table.rows] == ["1", "2"]


def test_a_model_with_one_number_of_threads_has_the_column_if_the_run_has_several():
    (table, *_) = tables.measured("logistic", results([*BOTH, record(model="logistic", threads=1)]))
    assert [row[table.columns.index("threads")] for row in table.rows] == ["1"]


def test_recipes_unreliable_numbers_failures_and_probes_name_the_threads():
    failed = record("spark", rows=10_000, threads=1, outcome="failed", phase="train", reason="it fell over")
    launches = [*BOTH, failed]
    assert [table.title for table in tables.recipes(results(launches))] == [
        "scikit-learn, mlp, tuned, 1 thread",
        "scikit-learn, mlp, tuned, 2 threads",
    ]
    titles = [f"scikit-learn mlp 10,000 rows, tuned, {threads}" for threads in ("1 thread", "2 threads")]
    assert [title for title, _ in tables.care(results(launches))] == titles
    ((which, _, _),) = tables.failures(run(launches))
    assert which == "spark mlp 10,000 rows, tuned, 1 thread, launch 1"
    (probe, _) = probes([probed(1, 0.04, threads=1), probed(2, 0.04)])
    assert probe.title == "scikit-learn mlp 1,000 rows, tuned, 1 thread, launch 1"


def test_the_cold_start_of_the_install_cost_is_of_one_number_of_threads():
    launches = [replace(BOTH[0], first_prediction_seconds=9.0), replace(BOTH[1], first_prediction_seconds=3.0)]
    table = tables.install_cost(run(launches))
    assert table
    assert table.columns[-1] == "cold start to the first prediction, 10,000 rows, 2 threads"
    assert table.rows[0][-1] == "3 s"


def test_a_card_compares_at_one_number_of_threads_and_names_it():
    launches = [*BOTH, *(replace(one, case=replace(one.case, framework="spark")) for one in BOTH)]
    launches.append(record("spark", rows=100_000, threads=1, outcome="timeout", phase="train", reason="too slow"))
    card, spark = cards.cards(run(launches))
    facts = dict(card.facts)
    assert facts["training (mlp, 10,000 rows, 2 threads)"] == "2,500 rows/s"
    assert facts["one flower (2 threads)"] == "20 µs"
    assert facts["largest size that it ended"] == "10,000 rows, 2 threads"
    assert spark.limits == ["mlp, 100,000 rows, tuned, 1 thread: timeout in train: too slow"]


def test_a_card_joins_numbers_of_threads_with_the_same_recipe():
    (card,) = cards.cards(run(BOTH))
    assert card.recipes == ["mlp, tuned: solver adam, epochs 2 (1 and 2 threads)"]
    other = replace(BOTH[1], recipe={"solver": "lbfgs"})
    (card,) = cards.cards(run([BOTH[0], other]))
    assert card.recipes == ["mlp, tuned: solver adam, epochs 2 (1 thread)", "mlp, tuned: solver lbfgs (2 threads)"]


def test_a_crossing_is_of_two_frameworks_with_the_same_number_of_threads():
    steep = {threads: growing("pytorch-cpu", 0.02, 3e-6, 0.02, SIZES, threads=threads) for threads in (1, 2)}
    flat = growing("spark", 0.3, 3e-7, 0.02, SIZES, threads=2)
    found = discussion.crossings(verdict.contenders([run([*steep[1], *steep[2], *flat])]))
    assert [(one.small, one.large) for one in found] == [("pytorch-cpu, 2 threads", "spark, 2 threads")]


def test_topics_name_the_threads():
    tracks = [
        record(rows=10_000, track=track, threads=threads, times={"train": (seconds,)})
        for track, threads, seconds in (("default", 1, 30.0), ("tuned", 1, 10.0), ("tuned", 2, 1.0))
    ]
    (topic,) = [topic for topic in discussion.topics(results(tracks), []) if "getting-started" in topic.question]
    assert "scikit-learn, 1 thread takes 3 times as long" in topic.question


def test_lines_of_different_numbers_of_threads_have_different_dashes():
    launches = [
        *growing("spark", 0.1, 2e-6, 0.02, SIZES, threads=1),
        *growing("spark", 0.1, 1e-6, 0.02, SIZES, threads=2),
    ]
    found, looks = results(launches), styles.of_run(run(launches))
    for chart in (
        charts.train_chart(found, "mlp", looks),
        charts.accuracy_chart(found, "mlp", looks),
        charts.memory_chart(found, "mlp", looks),
        charts.throughput_chart(found, "mlp", looks),
    ):
        assert '"domain": ["2 threads", "1 thread"]' in specification(chart)
        assert drawn(chart, "series") == {"spark tuned 1 0", "spark tuned 2 0"}
    one_number = [one for one in found if one.case.threads == 2]
    assert "strokeDash" not in specification(charts.memory_chart(one_number, "mlp", looks))


def test_bars_and_panels_of_different_numbers_of_threads_are_apart():
    names = {"scikit-learn, 1 thread", "scikit-learn, 2 threads"}
    launches = [replace(one, memory=Memory(2**27, 2**28, 2**29)) for one in BOTH]
    found, looks = results(launches), styles.of_run(run(launches))
    assert drawn(charts.first_prediction_chart(found, "mlp"), "bar") == names
    assert drawn(charts.latency_chart(found, "mlp", looks), "bar") == names
    assert drawn(charts.shares_chart(found, "mlp"), "panel") == names
    assert '"text": {"field": "threads"' in specification(charts.frontier_chart(found, "mlp", 10_000, looks))
    default = [replace(one, case=replace(one.case, track="default")) for one in launches]
    rows = drawn(charts.tracks_chart(results([*launches, *default]), "mlp"), "bar")
    assert rows == {f"{name}, 10,000 rows" for name in names}


def test_the_page_of_a_run_with_two_numbers_of_threads_names_both():
    launches = [
        replace(one, case=replace(one.case, threads=threads))
        for threads in (1, 2)
        for one in (rich_record("h2o", 1, 10.0 * threads, 0.04), *growing("spark", 0.1, 1e-6, 0.02))
    ]
    report = page.make([run(launches, ENVIRONMENT)])
    names = {answer.contender.name for answer in report.asked[0].answers}
    assert names == {f"{name}, {threads}" for name in ("h2o", "spark") for threads in ("1 thread", "2 threads")}
    captions = {figure.name: figure.caption for figure in report.parts[0].figures}
    assert captions["frontier-mlp"].endswith("The number next to a mark is its number of threads.")
    for figure in report.parts[0].figures:
        assert figure.chart.to_dict(validate=True)
