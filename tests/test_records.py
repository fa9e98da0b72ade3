"""Records are read as they were written, and a line that is not a record is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adapters import registry
from benchmarks.cases import PROFILES, Case, plan
from benchmarks.results import records
from benchmarks.results.records import Harness, Memory, Phase, Quality, Record, counted
from benchmarks.scheduling.runner import inferred_from
from errors import BadInput

CASE = Case("spark", "mlp", 1_000_000, "tuned", 2, 0)
OK = Record(
    run="a run",
    case=CASE,
    outcome="ok",
    inferred_from=CASE,
    started="2026-11-02T10:00:00.000+00:00",
    probe_seconds=(0.035, 0.034),
    harness=Harness(0.9, 0.01, 1.2, 0.02, 0.2),
    memory=Memory(1 << 29, 1 << 30, 3 << 30),
    build={"blas": "VectorBLAS"},
    phases={"train": Phase((16.0, 15.5), (22.0,), 31.0, 31.6, 3 << 30, 30.0, 2 << 30, 0, 47.5, 0.01, 0.2, 7, 0.5)},
    first_prediction_seconds=31.2,
    wall_seconds=80.0,
    quality=Quality(100_000, 0.982, 0.046, 0.9813, False, 0.9833, 0.0432, 0.0432, 0.0028, 0.0452, ("log-loss",)),
    recipe={"solver": "L-BFGS"},
    model_bytes=7531,
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    timeout = Record("a run", CASE, "timeout", phase="train", reason="train took longer than the time limit of 5 s")
    records.append(tmp_path, OK)
    records.append(tmp_path, timeout)
    assert list(records.read(tmp_path)) == [OK, timeout]


def test_a_line_that_is_not_a_record_is_named(tmp_path: Path) -> None:
    records.append(tmp_path, OK)
    with (tmp_path / records.FILE).open("a") as file:
        file.write('{"schema": 1, "run": "torn')
        file.write("\n")
    with pytest.raises(BadInput, match=r"records\.jsonl, line 2 is not a record"):
        list(records.read(tmp_path))


def test_a_last_line_without_a_newline_is_skipped(tmp_path: Path) -> None:
    records.append(tmp_path, OK)
    with (tmp_path / records.FILE).open("a") as file:
        file.write(OK.to_json()[:500])
    assert list(records.read(tmp_path)) == [OK]


def test_a_record_of_the_first_schema_can_be_read(tmp_path: Path) -> None:
    values = json.loads(OK.to_json()) | {"schema": 1}
    for name in ("inferred_from", "started", "probe_seconds", "harness", "memory", "build"):
        del values[name]
    later = ("began_seconds", "others_share", "waited_seconds", "involuntary_switches", "pressure_seconds")
    for name in ("jvm_cpu_seconds", "jvm_memory_bytes", "gpu_memory_bytes", *later):
        del values["phases"]["train"][name]
    for name in ("reference_log_loss", "log_loss_excess", "log_loss_limit", "failed_conditions"):
        del values["quality"][name]
    (tmp_path / records.FILE).write_text(json.dumps(values) + "\n")
    (record,) = records.read(tmp_path)
    assert (record.case, record.phases["train"].seconds, record.probe_seconds) == (CASE, (16.0, 15.5), ())
    assert record.quality is not None
    assert record.quality.failed_conditions == ("accuracy",), "older schemas have no other condition"


@pytest.mark.parametrize(
    ("reached_target", "failed"), [(True, ["accuracy"]), (False, []), (False, ["speed"]), (False, "accuracy")]
)
def test_a_record_whose_gate_contradicts_itself_is_refused(
    tmp_path: Path, reached_target: bool, failed: object
) -> None:
    values = json.loads(OK.to_json())
    values["quality"] |= {"reached_target": reached_target, "failed_conditions": failed}
    (tmp_path / records.FILE).write_text(json.dumps(values) + "\n")
    with pytest.raises(BadInput, match="line 1 is not a record"):
        list(records.read(tmp_path))


def test_records_that_do_not_stay_move_to_a_second_file(tmp_path: Path) -> None:
    timeout = Record("a run", CASE, "timeout", phase="train", reason="too long")
    for record in (OK, timeout, OK):
        records.append(tmp_path, record)
    assert records.set_aside(tmp_path, lambda record: record.outcome == "ok") == 1
    assert list(records.read(tmp_path)) == [OK, OK]
    assert (tmp_path / records.SET_ASIDE).read_text() == timeout.to_json() + "\n"


def test_an_unknown_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / records.FILE).write_text(OK.to_json().replace(f'"schema": {records.SCHEMA}', '"schema": 99') + "\n")
    with pytest.raises(BadInput, match="schema 99; this version of irisbench reads schemas 1 to"):
        list(records.read(tmp_path))


def test_a_folder_without_records_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not a run: it has no records\.jsonl"):
        list(records.read(tmp_path))


def test_a_phase_is_flagged_if_other_programs_took_more_than_5_percent_of_its_cores() -> None:
    shares = {None: False, 0.0: False, 0.05: False, 0.051: True, 1.0: True}
    assert {share: Phase((1.0,), others_share=share).flagged for share in shares} == shares


def test_flagged_launches_do_not_count_unless_all_are_flagged() -> None:
    flagged, unflagged = Phase((2.0,), others_share=0.5), Phase((1.0,), others_share=0.01)
    assert counted([flagged, unflagged, flagged]) == [unflagged]
    assert counted([flagged, flagged]) == [flagged, flagged]


def test_quick_launches_every_framework_once_on_two_models_and_five_sizes() -> None:
    chosen = plan(PROFILES["quick"])
    steps = chosen.steps()
    assert chosen.launches is None
    assert len(steps) == len(set(steps)) == len(registry.FRAMEWORKS) * 2 * 5
    assert {case.rows for case, _ in steps} == {150, 10_000, 100_000, 1_000_000, 10_000_000}
    assert {case.track for case, _ in steps} == {"tuned"}
    assert {launch for _, launch in steps} == {1}
    assert chosen.optional_rows == (10_000_000,)
    assert 10_000_000 not in chosen.rows


def test_rows_that_the_user_names_are_never_optional() -> None:
    chosen = plan(PROFILES["quick"], rows=[10_000_000])
    assert (chosen.rows, chosen.optional_rows) == ((10_000_000,), ())


def test_each_number_of_threads_has_its_own_cases() -> None:
    steps = plan(PROFILES["full"], frameworks=["baseline"], models=["mlp"], rows=[150], threads=[2, 1]).steps()
    assert {case.threads for case, _ in steps} == {1, 2}
    assert len({case.slug for case, _ in steps}) == len({case for case, _ in steps}) == 4


def test_each_framework_is_first_in_turn() -> None:
    steps = plan(PROFILES["quick"]).steps()
    firsts = [case.framework for case, _ in steps[:: len(registry.FRAMEWORKS)]]
    assert firsts[: len(registry.FRAMEWORKS)] == list(registry.FRAMEWORKS)


def test_every_case_has_its_first_launch_before_any_has_its_second() -> None:
    steps = plan(PROFILES["full"], frameworks=("spark", "baseline")).steps()
    assert [(launch, case.rows) for case, launch in steps] == sorted((launch, case.rows) for case, launch in steps)


def test_a_case_is_inferred_from_a_smaller_size_that_ran_out_of_time() -> None:
    timeout = Record("a run", CASE, "timeout", phase="train", reason="too long")
    larger = Case("spark", "mlp", 10_000_000, "tuned", 2, 0)
    assert inferred_from(larger, [timeout]) is timeout
    assert inferred_from(larger, [OK]) is None
    assert inferred_from(Case("spark", "logistic", 10_000_000, "tuned", 2, 0), [timeout]) is None
    assert inferred_from(Case("spark", "mlp", 10_000, "tuned", 2, 0), [timeout]) is None
    flowers = replace(timeout, case=replace(timeout.case, rows=150))
    assert inferred_from(larger, [flowers]) is None


@pytest.mark.parametrize("value", [2**64, "x" * 100_001, [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]])
def test_a_description_that_could_not_be_read_back_makes_a_failed_record(tmp_path: Path, value: object) -> None:
    records.append(tmp_path, replace(OK, recipe={"seed": value}))
    (record,) = records.read(tmp_path)
    assert (record.outcome, record.recipe, record.phases) == ("failed", {}, OK.phases)
    assert (record.reason or "").startswith(
        "the adapter describes its model or build with a value that cannot be stored"
    )


def test_all_launches_are_required_unless_the_run_chooses_their_number() -> None:
    chosen = plan(PROFILES["quick"], frameworks=("spark",), models=("mlp",))
    assert [case.rows for case, _ in chosen.required_steps()] == [150, 10_000, 100_000, 1_000_000]
    forced = plan(PROFILES["quick"], frameworks=("spark",), models=("mlp",), launches=1)
    assert [case.rows for case, _ in forced.required_steps()] == [150, 10_000, 100_000, 1_000_000, 10_000_000]
