"""Launches during which other programs used the cores are flagged, and count only if there are no others."""

from __future__ import annotations

import csv
import io

from reports import raw, tables, verdict
from reports.results import results
from reports.verdict import Question
from tests.factories import contended, growing, record, run

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def launches(*shares: float, phase: str = "train"):
    """Return a case with one launch per share of the cores that other programs took."""
    times = {"load": (0.0,), "train": (1.0, 1.0, 1.0), "predict": (0.1,) * 3}
    records = [
        contended(record(rows=10_000, launch=number, times=times), share, phase)
        for number, share in enumerate(shares, start=1)
    ]
    (result,) = results(records)
    return result


def test_a_number_whose_launches_are_all_flagged_shows_the_share_of_other_programs():
    result = launches(0.10, 0.23, 0.40)
    assert result.doubt("train") == "flagged: other programs took 23 % of the cores"
    assert result.doubt("predict") is None


def test_a_number_with_a_launch_that_is_not_flagged_is_reliable():
    assert launches(0.0, 0.01, 0.40).doubt("train") is None


def test_one_flower_is_flagged_like_any_other_phase():
    assert launches(0.3, phase="predict_one").doubt("predict_one") == "flagged: other programs took 30 % of the cores"


def test_every_table_of_measurements_says_how_many_launches_it_is_based_on():
    for table in tables.measured("mlp", [launches(0.0, 0.01)]):
        assert [row[table.columns.index("launches")] for row in table.rows] == ["2"]


def test_a_table_shows_the_number_of_launches_that_are_not_flagged():
    (table, *_) = tables.measured("mlp", [launches(0.0, 0.01, 0.40)])
    assert table.rows[0][table.columns.index("launches")] == "3 (train 2)"
    ((case, rules),) = tables.care([launches(0.0, 0.01, 0.40)])
    assert case == "scikit-learn mlp 10,000 rows, tuned"
    assert "train flagged in 1 of 3 launches, which do not count" in rules


def test_a_phase_that_one_launch_did_not_reach_is_based_on_fewer_launches():
    failed = record(rows=10_000, launch=3, outcome="failed", phase="train", reason="it fell over")
    (table, *_) = tables.measured("mlp", results([*launches(0.0, 0.0).records, failed]))
    assert table.rows[0][table.columns.index("launches")] == "3 (load 2, train 2, predict 2, predict one 2)"


def test_a_number_is_marked_in_its_table_if_all_its_launches_are_flagged():
    (table, *_) = tables.measured("mlp", [launches(0.4, 0.4)])
    row = table.rows[0]
    assert row[table.columns.index("launches")] == "2"
    assert str(row[table.columns.index("train")]) == "1 s (1 – 1 s) (flagged)"
    assert "train flagged: other programs took 40 % of the cores" in tables.care([launches(0.4, 0.4)])[0][1]


def test_a_flagged_launch_changes_neither_the_time_nor_the_scaling_fit():
    clean = list(growing("spark", 0.1, 1e-6, 0.02, SIZES))
    slow = [contended(one, 0.4, "train") for one in growing("spark", 1.0, 1e-5, 0.02, SIZES)]
    slow = [one for one in slow if one.launch == 1]
    alone, both = (verdict.contenders([run(found)])[0] for found in (clean, [*clean, *slow]))
    times = [verdict.answer(Question("mlp", 1_000_000), contender).time for contender in (alone, both)]
    assert times[0] == times[1]
    fits = [contender.times["train"] for contender in (alone, both)]
    assert not isinstance(fits[0], str) and not isinstance(fits[1], str)
    assert (fits[0].c, fits[0].k) == (fits[1].c, fits[1].k)


def test_the_downloaded_table_names_the_flagged_phases_of_each_launch():
    text = raw.results_csv([run([record(), contended(record(launch=2), 0.4, "load", "train")])])
    assert [line["flagged_phases"] for line in csv.DictReader(io.StringIO(text))] == ["", "load, train"]
