"""Cards and topics for a class state only what the records contain."""

from __future__ import annotations

from dataclasses import replace

from reports import cards, discussion, verdict
from reports.results import results
from tests.factories import ENVIRONMENT, EVERYTHING, growing, record, run


def card(made, name):
    return next(one for one in made if one.framework == name)


def topics(records):
    crossings = discussion.crossings(verdict.contenders([run(records)]))
    return discussion.topics(results(records), crossings)


def fast_and_slow(**more):
    fast = record("pytorch-cpu", rows=10_000, times={"train": (1.0,), "predict": (0.1,)}, **more)
    slow = record("spark", rows=10_000, times={"train": (10.0,), "predict": (5.0,)}, **more)
    return [fast, slow]


def test_a_strength_is_far_above_the_others_and_a_weakness_far_below():
    made = cards.cards(run(fast_and_slow(), ENVIRONMENT))
    assert "training (mlp, 10,000 rows): 10,000 rows/s, and the next 1,000 rows/s" in card(made, "pytorch-cpu").strong
    assert "training (mlp, 10,000 rows): 1,000 rows/s, and the next 10,000 rows/s" in card(made, "spark").weak
    assert not card(made, "pytorch-cpu").weak and not card(made, "spark").strong


def test_equal_frameworks_have_neither_strengths_nor_weaknesses():
    made = cards.cards(run([record("pytorch-cpu", rows=10_000), record("tensorflow-cpu", rows=10_000)], {}))
    assert all(not one.strong and not one.weak for one in made)


def test_a_card_shows_the_facts_about_its_framework():
    environment = {"frameworks": {"spark": {"version": "4.3", "format": "a folder", "distributed": "its own"}}}
    one = replace(record("spark", rows=10_000), model_bytes=4096)
    (made,) = cards.cards(run([one], environment))
    facts = dict(made.facts)
    assert made.version == "4.3"
    assert facts["saves as"] == "a folder" and facts["for many machines"] == "its own"
    assert facts["a saved model"] == "4 KiB" and facts["device"] == "CPU"
    assert facts["largest size that it ended"] == "10,000 rows"
    assert facts["one flower"] == "20 µs" and facts["peak memory (mlp, 10,000 rows)"] == "300 MiB"
    assert made.recipes == ["mlp, tuned: solver adam, epochs 2"]


def test_a_recipe_names_its_differences_from_the_others():
    recipes = {
        "scikit-learn": {"solver": "adam", "batch": 8},
        "pytorch-cpu": {"solver": "Adam, fused"},
        "spark": {"solver": "L-BFGS", "activation": "sigmoid"},
    }
    made = cards.cards(run([replace(record(name), recipe=recipe) for name, recipe in recipes.items()], ENVIRONMENT))
    departs = "mlp, tuned: solver L-BFGS, activation sigmoid. Otherwise than the others: L-BFGS, where most take Adam; "
    assert card(made, "spark").recipes == [departs + "activation sigmoid"]
    assert card(made, "scikit-learn").recipes == ["mlp, tuned: solver adam, batch 8"]


def test_a_card_names_every_failure_with_its_error():
    made = cards.cards(run(EVERYTHING, ENVIRONMENT))
    assert card(made, "pytorch-gpu").limits == ["no CUDA device"]
    assert card(made, "tensorflow-cpu").limits == ["mlp, 1,000 rows, tuned: failed in load: ValueError: bad"]
    assert (
        card(made, "spark").limits[0]
        == "mlp, 1 M rows, tuned: timeout in train: train took longer than the 60 s allowed"
    )
    assert card(made, "h2o").limits[-1] == (
        "below target: mlp, tuned, accuracy: 1,000 rows; logistic, tuned, log-loss: 1,000 rows"
    )
    assert not any(one.framework == "baseline" for one in made)


def test_the_crossing_at_the_largest_number_of_rows_is_a_topic():
    sizes = (10_000, 100_000, 1_000_000, 10_000_000)
    curves = (("pytorch-cpu", 0.02, 3e-6), ("pytorch-gpu", 0.3, 3e-7))
    records = [launch for curve in curves for launch in growing(*curve, 0.02, rows=sizes)]
    (first, *_) = topics(records)
    assert first.question.startswith(
        "Up to some number of rows pytorch-cpu trains the mlp faster, beyond it pytorch-gpu"
    )
    assert first.evidence.startswith("Their laws cross at 100,000 rows (")


def test_the_largest_difference_between_the_tracks_is_a_topic():
    both = [
        record(rows=10_000, track=track, times={"train": (time,)}) for track, time in (("default", 30), ("tuned", 1))
    ]
    told = [topic for topic in topics(both) if "getting-started" in topic.question]
    assert len(told) == 1 and "takes 30 times as long" in told[0].question
    assert "30 s by default, 1 s tuned" in told[0].evidence
    alike = [record(rows=10_000, track=track) for track in ("default", "tuned")]
    assert not [topic for topic in topics(alike) if "getting-started" in topic.question]


def test_one_failure_is_a_topic_with_its_error():
    told = [topic for topic in topics(EVERYTHING) if "did not end" in topic.question]
    assert len(told) == 1 and told[0].question.startswith("h2o did not end the mlp on 1 M rows")
    assert "out-of-memory in train" in told[0].evidence


def test_more_rows_without_better_accuracy_are_a_topic():
    few, many = (record(rows=rows, times={"train": (time,)}) for rows, time in ((10_000, 1.0), (1_000_000, 60.0)))
    told = [topic for topic in topics([few, many]) if "no better" in topic.question]
    assert len(told) == 1 and told[0].question.startswith("100 times the rows")
    better = replace(many, quality=replace(many.quality, accuracy=0.983))
    assert not [topic for topic in topics([few, better]) if "no better" in topic.question]


def test_two_frameworks_whose_order_differs_for_many_flowers_and_one_are_a_topic():
    batch = record("tensorflow-cpu", rows=10_000, times={"predict": (0.01,), "predict_one": (1e-3,)})
    single = record("scikit-learn", rows=10_000, times={"predict": (0.1,), "predict_one": (1e-4,)})
    told = [topic for topic in topics([batch, single]) if "one flower more slowly" in topic.question]
    assert len(told) == 1 and told[0].question.startswith(
        "tensorflow-cpu predicts many flowers faster than scikit-learn"
    )


def test_a_small_run_has_no_topics():
    assert topics([record(rows=150)]) == []
