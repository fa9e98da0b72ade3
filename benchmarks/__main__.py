"""python -m benchmarks: measures how the frameworks train and predict, case by case."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import commandline
from adapters import registry
from adapters.base import MODELS, TRACKS
from benchmarks import environment, runner
from benchmarks.cases import PROFILES, Case, cases
from benchmarks.records import Record
from benchmarks.supervisor import Limits

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console(highlight=False)
CORES = environment.usable_cores()


def _names(what: str, names: tuple[str, ...]) -> typer.models.OptionInfo:
    parse = commandline.one_of(what, names)
    return typer.Option(parser=parse, metavar="NAME", help=f"{', '.join(names)}. May be repeated.")


Profile = Annotated[str, typer.Option(parser=commandline.one_of("profile", tuple(PROFILES)), metavar="quick|full")]
Frameworks = Annotated[list[str] | None, _names("framework", tuple(registry.FRAMEWORKS))]
Models = Annotated[list[str] | None, _names("model", MODELS)]
Rows = Annotated[
    list[int] | None,
    typer.Option(parser=commandline.rows, metavar="N", help="150 (the real flowers), 10_000, 1e6. May be repeated."),
]
Tracks = Annotated[list[str] | None, _names("track", TRACKS)]
Threads = Annotated[
    int, typer.Option(min=1, metavar="N", help="Cores a case may use; as many as there are if not given.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of the flowers and of the training.")]


@app.command("list")
def list_(
    profile: Profile = "quick",
    framework: Frameworks = None,
    model: Models = None,
    rows: Rows = None,
    track: Tracks = None,
    threads: Threads = CORES,
    seed: Seed = 0,
) -> None:
    """Show the cases that run would measure with the same choices, and run none."""
    matrix = _matrix(profile, framework, model, rows, track, threads, seed)
    table = Table(title=f"{len(matrix)} cases, {threads} threads, seed {seed}")
    for heading in ("framework", "model"):
        table.add_column(heading)
    table.add_column("rows", justify="right")
    table.add_column("track")
    table.add_column("note")
    missing = {name: registry.FRAMEWORKS[name].missing() for name in {case.framework for case in matrix}}
    for case in matrix:
        reason = missing[case.framework]
        table.add_row(
            case.framework, case.model, f"{case.rows:,}", case.track, f"unavailable: {reason}" if reason else ""
        )
    console.print(table)


@app.command()
def run(
    profile: Profile = "quick",
    framework: Frameworks = None,
    model: Models = None,
    rows: Rows = None,
    track: Tracks = None,
    threads: Threads = CORES,
    time_limit: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Seconds that one call of a phase may take.")
    ] = 600.0,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            parser=commandline.size,
            metavar="8GiB",
            help="Memory of a case, JVM included; 3/4 of the machine's if not given.",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measured calls of a phase, while they take under 2 s.")
    ] = 3,
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for the run; one under reports/runs/ if not given.")
    ] = None,
) -> None:
    """Measure every case in a process of its own, write a record of each as it ends, then make the report.

    quick: logistic and mlp on 150, 10,000 and 1,000,000 rows, tuned. full: 150 to 10,000,000 rows by tens, all
    models, both tracks. What you choose beside the profile takes the place of its part. Ctrl-C ends the running case,
    keeps all records, and makes the report of what there is.
    """
    matrix = _matrix(profile, framework, model, rows, track, threads, seed)
    if threads > environment.usable_cores():
        raise commandline.BadInput(f"--threads {threads}: this process may use {environment.usable_cores()} cores")
    folder = runner.new_folder(output)
    limits = Limits(time_limit, memory_limit or environment.default_memory_limit(), rounds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    interrupted = False
    try:
        _run_with_progress(folder, matrix, limits)
    except KeyboardInterrupt:
        interrupted = True
        console.print("interrupted: the case that was running is ended, the records of the others are kept")
    finally:
        report = subprocess.run([sys.executable, "-m", "reports", str(folder)], check=False)
    raise typer.Exit(130 if interrupted else report.returncode)


def _matrix(
    profile: str,
    framework: list[str] | None,
    model: list[str] | None,
    rows: list[int] | None,
    track: list[str] | None,
    threads: int,
    seed: int,
) -> list[Case]:
    return cases(PROFILES[profile], framework or (), model or (), rows or (), track or (), threads, seed)


def _run_with_progress(folder: Path, matrix: list[Case], limits: Limits) -> None:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cases"),
        TimeElapsedColumn(),
        console=console,
    )
    task = bar.add_task("starting", total=len(matrix))
    now: dict[str, Any] = {"case": "", "phase": "", "since": time.monotonic()}

    def started(case: Case) -> None:
        now.update(case=str(case), phase="")

    def watch(phase: str | None) -> None:
        if phase and phase != now["phase"]:
            now.update(phase=phase, since=time.monotonic())
        bar.update(task, description=f"{now['case']}: {now['phase']} {time.monotonic() - now['since']:.0f} s")

    def ended(record: Record) -> None:
        bar.console.print(_line(record), soft_wrap=True)
        bar.advance(task)

    with Live(bar, console=console, refresh_per_second=4, transient=True):
        runner.run(folder, matrix, limits, started, watch, ended, bar.console.print)


def _line(record: Record) -> str:
    """One ended case as a line of the terminal."""
    colour = {"ok": "green", "unavailable": "dim", "unsupported": "dim", "skipped": "dim"}.get(record.outcome, "red")
    text = f"[{colour}]{record.outcome:13}[/] {record.case!s:45}"
    if record.outcome != "ok":
        where = f"in {record.phase}: " if record.phase else ""
        return text + f" {where}{record.reason}".replace("[", r"\[")
    train = sorted(record.phases["train"].seconds)
    median = train[len(train) // 2]
    assert record.quality
    missed = "" if record.quality.reached_target else f", below the target of {record.quality.target_accuracy:.4f}"
    return text + f" train {median:.3g} s, accuracy {record.quality.accuracy:.4f}{missed}"


if __name__ == "__main__":
    commandline.main(app, "benchmarks")
