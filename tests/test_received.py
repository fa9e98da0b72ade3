"""A run that was received, or damaged: whatever its files hold, the answer is a report or one line."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import compare
from benchmarks.records import FILE
from benchmarks.runs import ENVIRONMENT
from commandline import BadInput
from reports import load, page, terminal
from tests.mutations import damaged
from tests.test_reports import EVERYTHING, make_run, record, rich_record

MUTATIONS = 300
PAGES = 30
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
    *EVERYTHING,
    *(rich_record(name, launch, 10 * launch, 0.04) for launch in (1, 2) for name in ("h2o", "spark")),
    *(record("h2o", "deep", rows, times={"train": (2e-6 * rows,) * 3}) for rows in (1_000, 10_000, 100_000, 1_000_000)),
]
KINDS = {FILE: random.Random(1), ENVIRONMENT: random.Random(2)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is not damaged."""
    return make_run(tmp_path_factory.mktemp("received") / "whole", RECORDS, ABOUT)


def answers(folder: Path, whole: Path, drawn: bool) -> bool:
    """Whether the folder is a run; then its report is made, and it is compared with a whole one both ways."""
    try:
        runs = load.runs([folder])
    except BadInput as error:
        assert "\n" not in str(error) and str(error).isprintable()
        return False
    report = page.make(runs)
    screen = Console(file=io.StringIO(), width=200)
    terminal.show(report, folder / "report.html", screen)
    if drawn:
        page.write(report, folder)
    for pair in ((folder, whole), (whole, folder)):
        try:
            compare.command(*pair, "train", 0.1, screen)
        except BadInput as error:
            assert "\n" not in str(error)
    assert "\x1b" not in screen.file.getvalue()  # type: ignore[attr-defined]
    return True


@pytest.mark.parametrize("name", [FILE, ENVIRONMENT])
def test_a_damaged_file_gives_a_report_or_one_line(name: str, whole: Path, tmp_path: Path) -> None:
    random_ = KINDS[name]
    text = (whole / name).read_text()
    readable = 0
    for number in range(MUTATIONS):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        for other in (FILE, ENVIRONMENT):
            (folder / other).write_bytes((whole / other).read_bytes())
        (folder / name).write_bytes(damaged(text, random_))
        try:
            readable += answers(folder, whole, drawn=readable < PAGES)
        except Exception as error:
            import traceback; traceback.print_exc(limit=-4); continue
            pytest.fail(f"{folder / name}: {type(error).__name__}: {str(error)[:500]}")
    assert PAGES < readable < MUTATIONS - PAGES
