"""The timeline of a case joins the events that are complete with the samples of its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.case_process.events import FILE, EventLog, EventReader, Failed, PhaseBegan, PhaseEnded
from benchmarks.supervision.process_tree import Sample
from benchmarks.supervision.timeline import Timeline


def tear(folder: Path, text: str) -> None:
    """Append an incomplete line to an event log, as a full disk does."""
    with (folder / FILE).open("a") as file:
        file.write(text)


def test_a_torn_line_in_the_middle_is_skipped_and_later_events_are_read(tmp_path: Path) -> None:
    log, reader = EventLog(tmp_path), EventReader(tmp_path)
    log.begin("load")
    tear(tmp_path, '{"type":"phase-ended","time":12.5,"sec\n')
    log.begin("train")
    log.fail("failed", "the disk is full")
    began, train, failed = reader.new()
    assert isinstance(began, PhaseBegan)
    assert isinstance(train, PhaseBegan)
    assert isinstance(failed, Failed)
    assert (began.phase, train.phase, failed.reason) == ("load", "train", "the disk is full")


def test_an_event_is_read_when_its_line_is_complete(tmp_path: Path) -> None:
    reader = EventReader(tmp_path)
    assert reader.new() == []
    log = EventLog(tmp_path)
    log.begin("train")
    whole = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(whole[:20])
    assert reader.new() == []
    tear(tmp_path, whole[20:])
    assert [type(event) for event in reader.new()] == [PhaseBegan]
    log.end([0.5])
    [ended] = reader.new()
    assert isinstance(ended, PhaseEnded)
    assert ended.seconds == (0.5,)
    assert reader.new() == []


@pytest.mark.parametrize(
    "content", ["5", "null", "[]", '{"type": "phase"}', '{"type": "failed", "outcome": "odd"}', "x"]
)
def test_a_line_that_is_not_an_event_is_skipped(content: str, tmp_path: Path) -> None:
    tear(tmp_path, content + "\n")
    EventLog(tmp_path).begin("train")
    assert [type(event) for event in EventReader(tmp_path).new()] == [PhaseBegan]


def test_the_end_of_a_phase_whose_beginning_is_lost_is_ignored(tmp_path: Path) -> None:
    log, timeline = EventLog(tmp_path), Timeline(EventReader(tmp_path), 1)
    log.end([9.0])
    log.begin("train")
    log.end([1.0])
    tear(tmp_path, '{"type":"phase-beg\n')
    log.end([9.0])
    timeline.read()
    assert [(call.phase, call.seconds) for call in timeline.calls] == [("train", (1.0,))]


@pytest.mark.parametrize(
    ("busy_seconds", "own_seconds", "others_share", "flagged"),
    [(2.0, 2.0, 0.0, False), (2.0, 1.94, 0.03, False), (2.0, 1.8, 0.1, True), (2.0, 0.5, 0.75, True)],
)
def test_the_share_of_other_programs_is_the_busy_time_that_the_case_and_the_supervisor_did_not_use(
    tmp_path: Path, busy_seconds: float, own_seconds: float, others_share: float, flagged: bool
) -> None:
    log, timeline = EventLog(tmp_path), Timeline(EventReader(tmp_path), 1)
    log.begin("train")
    log.end([2.0])
    timeline.read()
    [call] = timeline.calls
    call.began, call.ended = 10.0, 12.0
    supervisor = 0.01
    timeline.samples = [
        Sample(
            10.0 + second,
            cpu_seconds=(own_seconds - supervisor) * second / 2,
            busy_seconds=busy_seconds * second / 2,
            supervisor_cpu_seconds=supervisor * second / 2,
        )
        for second in range(3)
    ]
    train = timeline.phases(began=9.0)["train"]
    assert train.began_seconds == 1.0
    assert train.others_share == pytest.approx(others_share, abs=1e-9)
    assert train.flagged is flagged


@pytest.mark.parametrize(("cores", "busy_seconds"), [(None, 1.0), (1, 0.0)], ids=["not bound", "CPU time unknown"])
def test_the_share_of_other_programs_is_unknown_if_the_system_does_not_say(
    tmp_path: Path, cores: int | None, busy_seconds: float
) -> None:
    log, timeline = EventLog(tmp_path), Timeline(EventReader(tmp_path), cores)
    log.begin("train")
    log.end([2.0])
    timeline.read()
    [call] = timeline.calls
    call.ended = call.began + 2.0
    timeline.samples += [Sample(call.began + second, busy_seconds=busy_seconds) for second in range(3)]
    train = timeline.phases(began=0.0)["train"]
    assert train.others_share is None
    assert not train.flagged
