"""Each contender answers a question with yes, no or unknown, and with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.quality_gate import Gate
from benchmarks.results.records import Memory, Phase
from reports import verdict
from reports.verdict import NO, NOT_KNOWN, YES, Answer, Question
from tests.factories import EVERYTHING, record, run

LIMITS = {"settings": {"time_limit_s": 60, "memory_limit_bytes": 8 * 2**30}}


def rank(records, environment=LIMITS, **question):
    asked = Question(**{"model": "mlp", "rows": 1000, **question})
    return verdict.ranking(asked, verdict.contenders([run(records, environment)]))


def ask(records, **question) -> Answer:
    (answer,) = rank(records, **question)
    return answer


def told(answer: Answer) -> tuple[str, str]:
    return answer.verdict, answer.reason


def steady(seconds, rows=1000, framework="scikit-learn", **more):
    """Return a record without noise, whose load takes no time."""
    return record(framework, rows=rows, times={"load": (0.0,), "train": (seconds,)}, **more)


def test_a_case_within_the_time_and_at_its_target_is_a_yes_with_both_reasons():
    answer = ask([record(times={"load": (0.2,), "train": (1.5,)})])
    reason = "load and train took 1.7 s, of 30 s allowed; accuracy 0.98 reaches the target 0.978"
    assert told(answer) == (YES, reason)


def test_a_case_that_took_too_long_is_a_no_with_its_time():
    answer = ask([record(times={"load": (1.2,), "train": (44.0,)})])
    assert told(answer) == (NO, "load and train took 45.2 s, of 30 s allowed")


def test_an_interval_that_contains_the_limit_is_too_close_to_call():
    answer = ask([record(times={"load": (0.0,), "train": (29.0, 30.0, 34.0)})])
    assert answer.verdict == NOT_KNOWN
    assert answer.reason == "too close to call: load and train took 30 s (29 s to 34 s), of 30 s allowed"


def test_only_the_phases_of_the_question_count():
    one = record(times={"import": (3.0,), "start": (1.0,), "load": (2.0,), "train": (4.0,)})
    assert ask([one], clock="train").reason.startswith("train took 4 s,")
    assert ask([one], clock="warm").reason.startswith("load and train took 6 s,")
    # the first time of each phase, which these records have at twice the time
    assert ask([one], clock="cold").reason.startswith("from a cold start, load and train took 20 s,")


def test_a_cold_start_beyond_the_rows_of_the_warm_up_lies_between_two_bounds():
    one = record(rows=1_000_000, times={"import": (1.0,), "start": (0.0,), "load": (1.0,), "train": (10.0,)})
    answer = ask([one], rows=1_000_000, clock="cold")
    assert "took between 13 s and 35 s" in answer.reason and answer.verdict == NOT_KNOWN
    assert ask([one], rows=1_000_000, clock="cold", seconds=12).verdict == NO
    assert ask([one], rows=1_000_000, clock="cold", seconds=36).verdict == YES


def test_an_accuracy_below_the_target_is_a_no_unless_the_question_asks_for_less():
    assert told(ask([record(accuracy=0.745)])) == (NO, "below target: accuracy 0.7450, at least 0.9780")
    assert ask([record(accuracy=0.745)], accuracy=0.7).verdict == YES
    assert ask([record(accuracy=0.98)], accuracy=0.99).reason == "accuracy 0.98 is below the asked 0.99"


def test_an_accuracy_just_below_the_target_is_shown_with_enough_digits():
    hair = record(accuracy=0.9779999)
    assert ask([hair]).reason == "below target: accuracy 0.9779999, at least 0.9780000"
    assert ask([hair], accuracy=0.978).reason == "accuracy 0.9779999 is below the asked 0.978"


def test_a_log_loss_above_its_limit_is_a_no_unless_the_question_asks_for_an_accuracy():
    early = record(log_loss=0.061)
    assert told(ask([early])) == (NO, "below target: log-loss 0.0610, at most 0.0580")
    assert ask([early], accuracy=0.978).verdict == YES
    both = record(accuracy=0.745, log_loss=0.9)
    assert ask([both]).reason == "below target: accuracy 0.7450, at least 0.9780; log-loss 0.9000, at most 0.0580"


def test_the_worst_launch_decides_and_is_shown():
    found = [record(log_loss=0.061), record(launch=2), record(launch=3, log_loss=0.062)]
    assert told(ask(found)) == (NO, "below target: log-loss 0.0620, at most 0.0580")


def test_a_size_next_to_one_that_failed_by_its_log_loss_is_unknown():
    sizes = [steady(1.0, 1000, log_loss=0.061), steady(9.0, 100_000)]
    reason = "whether it reaches the target is not known: log-loss 0.0610, at most 0.0580 (at 1,000 rows)"
    assert told(ask(sizes, rows=10_000)) == (NOT_KNOWN, reason)
    assert ask(sizes, rows=10_000, accuracy=0.978).verdict == YES
    poor = [steady(1.0, 1000, accuracy=0.9, log_loss=0.5), steady(9.0, 100_000, accuracy=0.95, log_loss=0.4)]
    assert ask(poor, rows=10_000).verdict == NO


def test_a_peak_above_the_memory_of_the_question_is_a_no():
    assert ask([record()], memory=2**30).verdict == YES
    assert "it held 300 MiB, of 1 GiB allowed" in ask([record()], memory=2**30).reason
    assert told(ask([record()], memory=100 * 2**20)) == (NO, "it held 300 MiB, of 100 MiB allowed")


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (record(outcome="failed", phase="load", reason="KeyError: x\nmany lines"), "failed in load: KeyError: x"),
        (record(outcome="unsupported", reason="it has no trees"), "unsupported: it has no trees"),
        (record(outcome="timeout", phase="predict"), "timeout in predict: no reason was recorded"),
    ],
)
def test_a_case_that_did_not_finish_is_a_no_with_its_reason(failure, sentence):
    assert told(ask([failure])) == (NO, sentence)


def test_a_training_that_timed_out_is_a_no_up_to_its_limit_and_unknown_beyond():
    stopped = record(outcome="timeout", phase="train", reason="train took longer than the 60 s allowed")
    assert told(ask([stopped])) == (NO, "train was stopped after its 60 s at 1,000 rows, of 30 s allowed")
    assert ask([stopped], seconds=60).verdict == NO
    assert ask([stopped], seconds=90).verdict == NOT_KNOWN
    larger = ask([stopped, record(rows=2000, outcome="skipped", reason="inferred")], rows=2000)
    assert told(larger) == (NO, "train was stopped after its 60 s at 1,000 rows, of 30 s allowed")


def test_a_case_that_timed_out_as_a_whole_says_nothing_about_its_training():
    whole = record(outcome="timeout", phase="train", reason="the case took longer than the 300 s allowed in all")
    told_so = "timeout in train: the case took longer than the 300 s allowed in all"
    assert told(ask([whole], seconds=1000)) == (NO, told_so)


def test_a_case_out_of_memory_is_a_no_unless_the_question_allows_more():
    short = record(outcome="out-of-memory", phase="train", reason="the Java heap memory was exhausted")
    reason = "out-of-memory in train: the Java heap memory was exhausted (at 1,000 rows), of 8 GiB allowed"
    assert told(ask([short])) == (NO, reason)
    assert ask([short], memory=8 * 2**30).verdict == NO
    assert ask([short], memory=16 * 2**30).verdict == NOT_KNOWN
    assert ask([short], rows=5000).verdict == NO


def test_a_question_about_memory_does_not_mean_gpu_memory():
    short = record(outcome="out-of-memory", phase="train", reason="CUDA out of memory")
    assert ask([short], memory=16 * 2**30).verdict == NO


def test_an_unavailable_framework_is_unknown_at_any_size():
    here = record(outcome="unavailable", reason="not installed: torch")
    assert told(ask([here])) == told(ask([here], rows=7)) == (NOT_KNOWN, "not installed: torch")


def test_one_failed_launch_of_several_is_a_no_that_counts_them():
    bad = record(outcome="failed", phase="train", reason="it fell over", launch=2)
    assert ask([record(), bad]).reason == "1 of 2 launches: failed in train: it fell over"


def test_a_size_between_two_measured_ones_is_answered_from_both():
    sizes = [steady(1.0, 1000), steady(9.0, 100_000)]
    answer = ask(sizes, rows=10_000)
    assert answer.verdict == YES
    reason = "not measured: load and train at least the 1 s of 1,000 rows and at most the 9 s of 100,000 rows"
    assert answer.reason.startswith(reason + ", of 30 s allowed")
    assert ask(sizes, rows=10_000, seconds=5).verdict == NOT_KNOWN
    assert ask(sizes, rows=10_000, seconds=0.5).verdict == NO


def test_a_size_beyond_the_largest_can_only_be_a_no():
    assert ask([steady(1.0)], rows=5000).verdict == NOT_KNOWN
    assert ask([steady(40.0)], rows=5000).verdict == NO


def test_the_real_flowers_say_nothing_about_other_sizes():
    answer = ask([steady(1.0, rows=150)], rows=5000)
    assert told(answer) == (NOT_KNOWN, "not measured at 5,000 rows, nor near")


def test_the_accuracy_between_two_sizes_lies_between_theirs():
    sizes = [steady(1.0, 1000, accuracy=0.97), steady(2.0, 100_000, accuracy=0.98)]
    assert ask(sizes, rows=10_000, accuracy=0.97).verdict == YES
    assert ask(sizes, rows=10_000, accuracy=0.975).verdict == NOT_KNOWN
    assert ask(sizes, rows=10_000, accuracy=0.99).verdict == NO
    reason = "whether the accuracy reaches the target is not known: it is 0.97 at 1,000 rows and 0.98 at 100,000 rows"
    assert ask(sizes, rows=10_000).reason == reason


def with_target(one, target):
    failed = Gate(target).failed(one.quality.accuracy, one.quality.log_loss)
    quality = replace(one.quality, target_accuracy=target, reached_target=not failed, failed_conditions=failed)
    return replace(one, quality=quality)


def test_a_target_that_rises_with_the_rows_is_not_taken_from_a_neighbour():
    few = with_target(steady(1.0, 10_000, accuracy=0.972), 0.9737)
    many = with_target(steady(2.0, 100_000, accuracy=0.979), 0.9817)
    assert ask([few, many], rows=50_000).verdict == NOT_KNOWN
    reached = with_target(steady(1.0, 20_000, accuracy=0.975), 0.9737)
    assert ask([reached], rows=200_000).verdict == NOT_KNOWN


def test_a_failure_on_fewer_rows_leaves_more_rows_unknown():
    sizes = [*LINE[:3], record(rows=1_000_000, outcome="failed", phase="train", reason="it fell over")]
    answer = ask(sizes, rows=2_000_000)
    assert told(answer) == (NOT_KNOWN, "not measured at 2 M rows; at 1 M rows failed in train: it fell over")


def test_times_that_were_measured_once_are_tied_unless_far_apart():
    found = rank([steady(1.0, framework="a"), steady(1.15, framework="b"), steady(1.5, framework="c")])
    assert [(one.contender.name, one.place) for one in found] == [("a", 1), ("b", 1), ("c", 3)]


LINE = [steady(0.1 + 1e-6 * rows, rows) for rows in (1_000, 10_000, 100_000, 1_000_000, 10_000_000)]


def test_with_enough_sizes_a_time_is_predicted_and_says_so():
    answer = ask(LINE, rows=20_000_000)
    assert answer.verdict == YES
    assert answer.reason.startswith("predicted, not measured: load and train 20 s (")
    assert ask(LINE, rows=60_000_000).verdict == NO
    assert ask(LINE, rows=200_000_000).reason.startswith("not measured: load and train at least the 10 s of 10 M rows")


def held(peak):
    return Phase((1.0,), (), 1.0, 1.0, peak)


def test_a_predicted_memory_above_the_limit_of_the_run_is_a_no():
    heavy = [replace(one, phases={**one.phases, "predict": held(2**29 + 600 * one.case.rows)}) for one in LINE]
    answer = ask(heavy, rows=20_000_000)
    assert answer.verdict == NO and answer.reason.startswith("predicted, not measured: memory 12 GiB")


def test_a_size_that_streams_from_the_disk_is_not_part_of_a_fit():
    streamed = [replace(one, recipe={"streamed": True}) if one.case.rows > 10**6 else one for one in LINE]
    found = verdict.contenders([run(streamed, LIMITS)])[0]
    assert found.times["train"].largest == 1_000_000  # type: ignore[union-attr]


def test_the_fastest_yes_is_first_and_overlapping_intervals_are_tied():
    def timed(name, *train):
        return record(name, times={"load": (0.0,), "train": train})

    found = rank([timed("c", 3.0, 3.1, 3.2), timed("a", 1.0, 1.1, 1.3), timed("b", 1.2, 1.25, 1.4), timed("d", 99.0)])
    assert [(one.contender.name, one.place) for one in found] == [("a", 1), ("b", 1), ("c", 3), ("d", None)]


def test_only_the_device_of_the_question_is_ranked():
    both = [record("pytorch-cpu"), record("pytorch-gpu")]
    assert [one.contender.name for one in rank(both, device="gpu")] == ["pytorch-gpu"]
    assert len(rank(both, device="any")) == 2


def test_each_run_is_a_contender_with_its_own_name():
    found = verdict.contenders([run([steady(1.0)], LIMITS, "laptop"), run([steady(2.0)], LIMITS, "server")])
    ranked = verdict.ranking(Question("mlp", 1000), found)
    assert [one.contender.name for one in ranked] == ["scikit-learn in laptop", "scikit-learn in server"]
    assert [one.time.value for one in ranked if one.time] == [1.0, 2.0]


def test_the_smallest_installation_that_is_enough_is_named_first():
    about = {name: {"adoption": {"megabytes": size}} for name, size in (("heavy", 2000), ("light", 200))}
    both = [steady(1.0, framework="heavy"), steady(2.0, framework="light")]
    found = verdict.contenders([run(both, {"frameworks": about})])
    question = Question("mlp", 1000)
    (line,) = verdict.enough(question, verdict.ranking(question, found))
    assert line.startswith(
        "light is enough, the lightest to install of those that can (200 MB): load and train took 2 s"
    )


def test_a_sample_that_is_enough_is_named():
    question = Question("mlp", 1_000_000)
    found = verdict.contenders([run([steady(0.1, 10_000), steady(9.0, 1_000_000)], LIMITS)])
    (line,) = verdict.enough(question, verdict.ranking(question, found))
    assert line == (
        "A sample is enough: 10,000 of the 1 M rows. On them scikit-learn needs 100 ms, "
        "and its accuracy 0.98 reaches 0.978."
    )
    poor = verdict.contenders([run([steady(0.1, 10_000, accuracy=0.9), steady(9.0, 1_000_000)], LIMITS)])
    assert verdict.enough(question, verdict.ranking(question, poor)) == []
    early = verdict.contenders([run([steady(0.1, 10_000, log_loss=0.061), steady(9.0, 1_000_000)], LIMITS)])
    assert verdict.enough(question, verdict.ranking(question, early)) == []


def test_the_first_question_is_about_the_largest_size_that_most_contenders_finished():
    found = verdict.contenders([run(EVERYTHING, LIMITS)])
    assert verdict.default_question(found) == Question("mlp", 1000)
    assert verdict.default_question([]) == Question("mlp", 1_000_000)


def test_an_answer_names_the_missing_parts_of_a_record():
    bare = replace(record(), phases={}, quality=None, memory=Memory(1, 2, 3))
    answer = ask([bare], memory=2**30)
    assert answer.verdict == NOT_KNOWN
    assert answer.reason == (
        "the time is not known: no record of load and train; the accuracy is not known: no record of it; "
        "the memory is not known: no record of it"
    )
