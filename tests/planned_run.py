"""The folder of a run that has a plan and no records, as another person could send it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.results import records
from benchmarks.scheduling import configuration

PLAN = {
    "frameworks": ["baseline"],
    "models": ["mlp"],
    "rows": [150],
    "tracks": ["tuned"],
    "launches": 1,
    "threads": [1],
    "seed": 0,
    "optional_rows": [],
}
LIMITS = {"time_s": 60.0, "memory_bytes": 2**30, "case_s": 3600.0, "rounds": 1}


def make_planned_run(folder: Path, **plan: object) -> Path:
    """Make the folder of a run that can be resumed, and return it. `plan` overrides parts of its plan."""
    folder.mkdir(parents=True)
    (folder / records.FILE).touch()
    content = {"plan": PLAN | plan, "limits": LIMITS, "skip": True, "time_budget_s": None}
    (folder / configuration.FILE).write_text(json.dumps(content))
    return folder
