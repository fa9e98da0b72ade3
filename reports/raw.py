"""What the page lets its reader download: every record as it is, and a table with a line for each launch."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.cases import Case
from benchmarks.results.records import PHASES, Harness, Memory, Quality, Record
from benchmarks.results.runs import Run
from reports.results import Result, median, median_seconds, peak_memory_bytes, results
from reports.tables import SHOWN_PHASES


def records_json(runs: Sequence[Run]) -> str:
    """All records of all runs as one list, raw values and all, each under the name that its run has in the report."""
    return json.dumps([{**asdict(record), "run": run.name} for run in runs for record in run.records])


def results_csv(runs: Sequence[Run]) -> str:
    """A line for each launch of each case of each run; times are in seconds, memory is in bytes.

    What ends in `_seconds` is the median of that launch. The median, interval, stability and percentiles are those of
    the case, over all its launches.
    """
    nobody = Record("", Case("", "", 1), "ok")
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [*_launch_columns("", nobody), *_case_columns(Result(nobody.case, ()))])
    table.writeheader()
    for run in runs:
        cases = {result.case: _case_columns(result) for result in results(run.records)}
        for record in run.records:
            table.writerow(_launch_columns(run.name, record) | cases[record.case])
    return text.getvalue()


def _launch_columns(run: str, record: Record) -> dict[str, Any]:
    case, train = record.case, record.phases.get("train")
    return {
        "run": run,
        **vars(case),
        **{name: getattr(record, name) for name in ("launch", "outcome", "phase", "reason", "started")},
        "probe_seconds": median(record.probe_seconds),
        **{f"{phase}_seconds": median_seconds(record, phase) for phase in PHASES},
        **{name: getattr(record.quality, name, None) for name in Quality.__dataclass_fields__},
        "failed_conditions": ", ".join(record.quality.failed_conditions) if record.quality else None,
        "peak_memory_bytes": peak_memory_bytes(record),
        **{f"memory_{name}": getattr(record.memory, name, None) for name in Memory.__dataclass_fields__},
        **{
            f"train_{name}": getattr(train, name, None)
            for name in ("cpu_seconds", "span_seconds", "jvm_cpu_seconds", "jvm_memory_bytes", "gpu_memory_bytes")
        },
        **{f"harness_{name}": getattr(record.harness, name, None) for name in Harness.__dataclass_fields__},
        **{name: getattr(record, name) for name in ("first_prediction_seconds", "wall_seconds", "model_bytes")},
        "flagged_phases": ", ".join(name for name, phase in record.phases.items() if phase.flagged),
    }


def _case_columns(result: Result) -> dict[str, Any]:
    columns: dict[str, Any] = {"log_loss_above_bayes": result.log_loss_gap}
    for phase in SHOWN_PHASES:
        found = result.seconds(phase)
        columns |= {f"{phase}_{name}": getattr(found, name, None) for name in ("median", "low", "high")}
        columns[f"{phase}_stability"] = (result.doubt(phase) or "stable") if found else None
    shares = result.latencies or (None, None, None)
    return columns | dict(zip(("predict_one_p50", "predict_one_p95", "predict_one_p99"), shares, strict=True))


def packed(text: str) -> str:
    """The text small enough for a page: gzip, the same bytes at any time, in base64."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()
