"""Kill random processes of running benchmarks, resume the runs, and count lost records: python -m tests.kills

This is a campaign and not a test: 200 kills take about an hour. Each kill has a seed, so it can be repeated alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

import commandline
from tests.conftest import ROOT

FRAMEWORKS = {"baseline": 60, "scikit-learn": 40, "pytorch-cpu": 30, "tensorflow-cpu": 20, "h2o": 25, "spark": 25}
"""Kills of each framework in a full campaign, fewer for frameworks that take longer."""

MARK = "IRISBENCH_KILLS"
"""An environment variable that every process of a run inherits. It finds processes that a kill left behind."""

HANG_S = 180.0
"""All processes of a killed run must end within this time."""

app = typer.Typer(add_completion=False)
console = Console(highlight=False)


@dataclass(frozen=True)
class Kill:
    """The result of one kill. `faults` is empty if the run was recovered."""

    framework: str
    seed: int
    victim: str
    faults: tuple[str, ...]


def processes(mark: str) -> list[psutil.Process]:
    """Return every living process with this mark."""
    marked = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                marked.append(process)
        except (psutil.Error, OSError):
            continue
    return marked


def role(process: psutil.Process) -> str:
    """Return the role of a process in a run, from its command line."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return "ended"
    line = " ".join(words)
    if words and Path(words[0]).name == "java":
        return "JVM"
    for part, name in (("benchmarks.case_data", "data"), (" pytest ", "case"), (" reports ", "report")):
        if part in line:
            return name
    return "supervisor" if " -m benchmarks run" in line else Path(words[0]).name if words else "?"


def start(arguments: list[str], mark: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks", "run", *arguments],
            cwd=ROOT,
            env=os.environ | {MARK: mark, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_gone(process: subprocess.Popen[bytes], mark: str) -> list[str]:
    """Wait until a run has ended, and kill the remaining processes. Return one line for each of them."""
    deadline = time.monotonic() + HANG_S
    try:
        process.wait(HANG_S)
    except subprocess.TimeoutExpired:
        left = [f"hang: {role(hanging)}" for hanging in processes(mark)]
    else:
        # A process that was just killed may take a moment to end, because the kernel frees the memory of a JVM.
        _, alive = psutil.wait_procs(processes(mark), timeout=min(5.0, max(deadline - time.monotonic(), 0.1)))
        left = [f"left behind: {role(survivor)}" for survivor in alive]
    for remaining in processes(mark):
        remaining.kill()
    process.wait()
    return left


def lines_of(folder: Path) -> list[str]:
    path = folder / "records.jsonl"
    return path.read_text().splitlines(keepends=True) if path.exists() else []


def kill_once(framework: str, seed: int, duration_s: float, folder: Path) -> Kill:
    """Start a run, kill one of its processes at a random moment, resume the run, and check its records."""
    chance = random.Random(f"{framework} {seed}")
    output, log = folder / "run", folder / "log"
    arguments = ["--framework", framework, "--model", "logistic", "--model", "mlp", "--rows", "150", "--launches", "1"]
    arguments += ["--output", str(output)]
    mark = f"{os.getpid()} {framework} {seed}"
    run = start(arguments, mark, log)
    with suppress(subprocess.TimeoutExpired):
        run.wait(chance.uniform(0, duration_s))
    victims = sorted(processes(mark), key=lambda process: process.pid)
    victim = "none, the run had ended"
    if victims:
        chosen = chance.choice(victims)
        victim = role(chosen)
        try:
            chosen.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            victim = "none, it had ended"
    faults = wait_until_gone(run, mark)
    before = [line for line in lines_of(output) if line.endswith("\n")]
    # A run that was killed before it wrote its plan cannot be resumed, and starts again.
    again = start(["--resume", str(output)] if (output / "plan.json").exists() else arguments, mark, log)
    faults += [f"resumed: {fault}" for fault in wait_until_gone(again, mark)]
    if again.returncode:
        faults.append(f"the resumed run ended with {again.returncode}")
    after = lines_of(output)
    faults += [f"lost: {line[:60]}" for line in before if line not in after]
    try:
        records = [json.loads(line) for line in after]
    except ValueError as error:
        records = []
        faults.append(f"damaged: {error}")
    cases = Counter((record["case"]["model"], record["launch"]) for record in records)
    if sorted(cases) != [("logistic", 1), ("mlp", 1)] or set(cases.values()) != {1}:
        faults.append(f"records: {dict(cases)}")
    faults += [
        f"no reason: {record['case']}" for record in records if record["outcome"] != "ok" and not record["reason"]
    ]
    if "Traceback" in log.read_text(errors="replace"):
        faults.append("traceback")
    return Kill(framework, seed, victim, tuple(faults))


def show(kills: list[Kill]) -> None:
    table = Table("framework", "process", "kills", "recovered")
    for framework, victim in sorted({(kill.framework, kill.victim) for kill in kills}):
        same = [kill for kill in kills if (kill.framework, kill.victim) == (framework, victim)]
        table.add_row(framework, victim, str(len(same)), str(sum(not kill.faults for kill in same)))
    console.print(table)
    console.print(f"{len(kills)} kills, {sum(bool(kill.faults) for kill in kills)} with faults")


@app.command()
def main(
    count: Annotated[
        int, typer.Option(min=1, metavar="N", help="Total number of kills, distributed over the frameworks.")
    ] = 200,
    framework: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Kill only runs of this framework. May be repeated.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the first kill. Each further kill adds 1.")
    ] = 0,
) -> None:
    """Kill a random process of a run at a random moment, resume the run, and check that no record was lost."""
    shares = {name: FRAMEWORKS[name] for name in framework or FRAMEWORKS}
    kills: list[Kill] = []
    try:
        for name, share in shares.items():
            with tempfile.TemporaryDirectory(prefix="irisbench-kills-") as folder:
                began = time.monotonic()
                undisturbed = kill_once(name, -1, HANG_S, Path(folder))
                duration_s = (time.monotonic() - began) / 2  # a run, and a resumed run that only makes the report
                if undisturbed.faults:
                    console.print(f"{name}: a run without a kill has faults: {'; '.join(undisturbed.faults)}")
            for number in range(seed, seed + max(1, round(count * share / sum(shares.values())))):
                with tempfile.TemporaryDirectory(prefix="irisbench-kills-") as folder:
                    kill = kill_once(name, number, duration_s, Path(folder))
                    kills.append(kill)
                    if kill.faults:
                        text = "; ".join(kill.faults)
                        console.print(f"{name} --seed {number}, {kill.victim}: {text}", soft_wrap=True, markup=False)
                        console.print((Path(folder) / "log").read_text(errors="replace")[-1500:], markup=False)
    finally:
        show(kills)
    raise typer.Exit(int(any(kill.faults for kill in kills)))


if __name__ == "__main__":
    commandline.main(app, "tests.kills")
