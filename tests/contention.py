"""Keep all cores busy for half of a run, and count how many phases are flagged: python -m tests.contention

This is a campaign and not a test. It makes a quiet run and a disturbed run of the same cases, and compares them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import commandline
from benchmarks.comparison import compare
from benchmarks.results import runs
from machine import ROOT, usable_cores

BURN = """
import itertools, json, os, sys, time
began, period = time.time(), float(sys.argv[1])
os.sched_setaffinity(0, {int(sys.argv[2])})
while os.getppid() == int(sys.argv[3]):
    if int((time.time() - began) / period) % 2:
        for _ in range(100_000): pass
    else:
        time.sleep(0.01)
"""
"""Keeps one core busy in every second period."""

EDGE_S = 0.5
"""Phases that begin or end so close to a change of the disturbance are not counted, because both answers are right."""

SHORTEST_OVERLAP = 0.5
"""A phase counts as disturbed if the other program ran for at least this share of it."""

app = typer.Typer(add_completion=False)
console = Console(highlight=False)


@contextmanager
def busy_program(period_s: float) -> Iterator[float]:
    """Run a program that keeps all cores busy in every second period. Yield the time at which it started."""
    began = time.time()
    processes = [
        subprocess.Popen([sys.executable, "-c", BURN, str(period_s), str(core), str(os.getpid())])
        for core in range(usable_cores())
    ]
    try:
        yield began
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(folder: Path, frameworks: list[str], launches: int) -> None:
    options = [option for name in frameworks for option in ("--framework", name)]
    options += ["--rows", "1e4", "--rows", "1e6", "--launches", str(launches), "--output", str(folder)]
    command = [sys.executable, "-m", "benchmarks", "run", *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def disturbed_share(began: float, ended: float, start: float, period_s: float) -> float:
    """Return the share of an interval in which the program was busy."""
    steps = 1000
    moments = [began + (ended - began) * (step + 0.5) / steps for step in range(steps)]
    return sum(int((moment - start) / period_s) % 2 for moment in moments) / steps


@app.command()
def main(
    framework: Annotated[list[str] | None, typer.Option(metavar="NAME", help="May be repeated.")] = None,
    launches: Annotated[int, typer.Option(min=1, metavar="N", help="Launches (processes) of each case.")] = 3,
    period: Annotated[float, typer.Option(min=1.0, metavar="S", help="Seconds without load, then with load.")] = 15.0,
) -> None:
    """Disturb half of a run, and show how many phases are flagged and how `compare` judges the run."""
    frameworks = framework or ["scikit-learn", "pytorch-cpu", "tensorflow-cpu", "h2o", "spark"]
    with tempfile.TemporaryDirectory(prefix="irisbench-contention-") as name:
        quiet, disturbed = Path(name) / "quiet", Path(name) / "disturbed"
        measure(quiet, frameworks, launches)
        with busy_program(period) as start:
            measure(disturbed, frameworks, launches)
        counts = {(truth, flagged): 0 for truth in (True, False) for flagged in (True, False)}
        wrong: list[str] = []
        for record in runs.read(disturbed).records:
            case_began = datetime.fromisoformat(record.started or "").timestamp()
            for phase, values in record.phases.items():
                began = case_began + (values.began_seconds or 0.0)
                ended = began + (values.span_seconds or 0.0)
                share = disturbed_share(began, ended, start, period)
                near = min(abs((moment - start + period / 2) % period - period / 2) for moment in (began, ended))
                if (near < EDGE_S and ended - began < period) or 0 < share < SHORTEST_OVERLAP:
                    continue
                truth = share >= SHORTEST_OVERLAP
                counts[truth, values.flagged] += 1
                if truth != values.flagged:
                    wrong.append(f"{record.case}, {phase}: busy {share:.0%}, others {values.others_share}")
        false_in_quiet = [
            f"{record.case}, {phase}: others {values.others_share}"
            for record in runs.read(quiet).records
            for phase, values in record.phases.items()
            if values.flagged
        ]
        console.print("\n".join(wrong[:20]), markup=False)
        console.print(f"disturbed phases: {counts[True, True]} flagged, {counts[True, False]} not")
        console.print(f"other phases: {counts[False, True]} flagged, {counts[False, False]} not")
        total = sum(len(record.phases) for record in runs.read(quiet).records)
        console.print(f"quiet run: {len(false_in_quiet)} of {total} phases flagged")
        console.print("\n".join(false_in_quiet[:20]), markup=False)
        compare.show(compare.compare(quiet, disturbed, "train"), console)


if __name__ == "__main__":
    commandline.main(app, "tests.contention")
