"""A received or damaged run gives a report or an error message of one line, whatever its files contain."""

from __future__ import annotations

import io
import json
import random
import shutil
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
import vl_convert
from rich.console import Console

from benchmarks.comparison import compare
from benchmarks.results.environment import FILE as ENVIRONMENT
from benchmarks.results.records import FILE
from errors import BadInput
from reports import charts, load, page, raw, terminal
from tests.factories import make_run, record, rich_record
from tests.mutations import damaged

MUTATIONS = 300
PAGES = 25
ABOUT = {
    "run": "made",
    "started": "2025-11-02T10:00:00+00:00",
    "command": "python -m benchmarks run",
    "machine": {"processor": "Some CPU", "cores": 4, "usable_cores": 2, "memory_bytes": 24 * 2**30, "python": "3.11"},
    "warnings": ["frequency scaling is on"],
    "java": "17.0.15",
    "packages": {"numpy": "2.4.6", "pyarrow": "26.0"},
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "settings": {"threads": 2, "time_limit_s": 60.0, "memory_limit_bytes": 8 * 2**30, "rounds": 3},
    "frameworks": {
        "scikit-learn": {"version": "1.9", "reason": None, "device": "cpu", "format": "skops", "recipe_digest": "50bb"},
        "h2o": {"version": "3.46", "adoption": {"packages": 7, "megabytes": 312.4, "adapter_lines": 120}},
        "spark": {"version": "4.3", "adoption": None},
    },
}
RECORDS = [
    *(
        record("scikit-learn", rows=rows, times={"train": (2e-6 * rows, 2.1e-6 * rows)})
        for rows in (10**4, 10**5, 10**6)
    ),
    *(rich_record("h2o", launch, 10 * launch, 0.04) for launch in (1, 2)),
    record("spark", outcome="timeout", phase="train", reason="train took longer than the 60 s allowed"),
    record("spark", rows=10_000_000, outcome="skipped", reason="1,000,000 rows timed out"),
    record("pytorch-gpu", outcome="unavailable", reason="no CUDA device"),
]
SEEDS = {FILE: 1, ENVIRONMENT: 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that is not damaged."""
    return make_run(tmp_path_factory.mktemp("received") / "whole", RECORDS, ABOUT)


def answers(folder: Path, whole: Path, drawn: bool) -> bool:
    """Make the report of a folder, with or without charts, and compare it. Return whether the folder is a run."""
    try:
        runs = load.runs([folder])
    except BadInput as error:
        assert "\n" not in str(error) and str(error).isprintable()
        return False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vl_convert, "javascript_bundle", lambda snippet: "")  # holds nothing of the run
        if not drawn:
            patch.setattr(charts, "figures", lambda run, contenders: [])
        report = page.make(runs)
        if drawn:
            page.write(report, folder)
    raw.results_csv(runs)
    screen = Console(file=io.StringIO(), width=200)
    terminal.show(report, folder / "report.html", screen)
    with suppress(BadInput):  # nothing can be compared
        compare.command(whole, folder, "train", 0.1, screen)
    assert "\x1b" not in screen.file.getvalue()  # type: ignore[attr-defined]
    return True


@pytest.mark.parametrize("name", [FILE, ENVIRONMENT])
def test_a_damaged_file_gives_a_report_or_one_line(name: str, whole: Path, tmp_path: Path) -> None:
    random_ = random.Random(SEEDS[name])
    text = (whole / name).read_text()
    readable, failures = 0, []
    for number in range(MUTATIONS):
        folder = tmp_path / f"{number}"
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(damaged(text, random_))
        try:
            readable += answers(folder, whole, drawn=readable < PAGES)
        except Exception:
            failures.append(f"{folder / name}: {traceback.format_exc(limit=-3)}")
    assert not failures, "\n".join(failures)
    assert PAGES < readable < MUTATIONS - PAGES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", [1e-320] * 3),
        ("seconds", [1e-9, 1e9, 1e9]),
        ("seconds", [0.0] * 3),
        ("jvm_memory_bytes", 2**63 - 2),
        ("peak_memory_bytes", 0),
    ],
)
def test_very_small_and_very_large_numbers_give_a_report(name: str, value: object, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    lines = [json.loads(line) for line in (whole / FILE).read_text().splitlines()]
    for line in lines[::2]:
        for phase in line["phases"].values():
            phase[name] = value
    (folder / FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert answers(folder, whole, drawn=True)


@pytest.mark.parametrize(("part", "name"), [("machine", "memory_bytes"), ("settings", "memory_limit_bytes")])
def test_an_environment_with_a_negative_amount_is_rejected(part: str, name: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [record()], {part: {name: -1}})
    with pytest.raises(BadInput, match=rf">= 0 - at `\$\.{part}\.{name}`"):
        load.runs([folder])
