"""python -m benchmarks: measures how the frameworks train and predict, case by case."""

from __future__ import annotations

import windows  # noqa: F401, ends here on native Windows

# isort: split
import early

if __name__ == "__main__":
    early.prepare()

# isort: split
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import commandline
from adapters import exit_with_parent, registry
from adapters.base import MODELS, TRACKS
from benchmarks import adapter_files, environment, forecast, overhead, records, runner, straight, tune
from benchmarks import compare as comparison
from benchmarks.cases import PROFILES, Case, plan
from benchmarks.gate import shortfall
from benchmarks.received import shown
from benchmarks.records import Record
from benchmarks.runner import Order
from benchmarks.supervisor import Limits
from errors import WRONG_PATH, BadInput
from interrupts import Ended
from machine import usable_cores

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console(highlight=False)
CORES = usable_cores()


def _names(what: str, names: Collection[str]) -> typer.models.OptionInfo:
    parse = commandline.one_of(what, names)
    option: typer.models.OptionInfo = typer.Option(
        parser=parse, metavar="NAME", help=f"{', '.join(names)}. May be repeated."
    )
    return option


def _usable(threads: int) -> int:
    if threads > CORES:
        raise BadInput(f"--threads {threads}: this process may use {CORES} cores")
    return threads


Profile = Annotated[str, typer.Option(parser=commandline.one_of("profile", tuple(PROFILES)), metavar="quick|full")]
Frameworks = Annotated[list[str] | None, _names("framework", registry.FRAMEWORKS)]
AdapterFiles = Annotated[list[Path] | None, commandline.adapter_files(registry.add_plugins)]
Models = Annotated[list[str] | None, _names("model", MODELS)]
Rows = Annotated[
    list[int] | None,
    typer.Option(parser=commandline.rows, metavar="N", help="150 (the real flowers), 10_000, 1e6. May be repeated."),
]
Tracks = Annotated[list[str] | None, _names("track", TRACKS)]
Launches = Annotated[
    int | None,
    typer.Option(min=1, max=10**6, metavar="N", help="Processes for each case: 2 for quick, 3 for full if not given."),
]
Threads = Annotated[
    int,
    typer.Option(min=1, callback=_usable, metavar="N", help="Cores a case may use; as many as there are if not given."),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Seed of the synthetic flowers and of the training.")
]


@app.command("list")
def list_(
    profile: Profile = "quick",
    framework: Frameworks = None,
    model: Models = None,
    rows: Rows = None,
    track: Tracks = None,
    launches: Launches = None,
    threads: Threads = CORES,
    seed: Seed = 0,
    adapter: AdapterFiles = None,
) -> None:
    """Show the cases that run would measure with the same choices and how long they would take, and run none."""
    wanted = plan(PROFILES[profile], framework or (), model or (), rows or (), track or (), launches, threads, seed)
    forecast.show(wanted, None if launches else PROFILES[profile].time_budget_s, console)


@app.command()
def run(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="With --resume: the run to continue; the newest if not given."),
    ] = None,
    profile: Profile = "quick",
    framework: Frameworks = None,
    model: Models = None,
    rows: Rows = None,
    track: Tracks = None,
    launches: Launches = None,
    threads: Threads = CORES,
    time_limit: Annotated[
        float, typer.Option(min=0.1, max=1e9, metavar="S", help="Seconds that one call of a phase may take.")
    ] = 600.0,
    case_limit: Annotated[
        float, typer.Option(min=1.0, max=1e9, metavar="S", help="Seconds that a case may take in all.")
    ] = 3600.0,
    time_budget: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e9,
            metavar="S",
            help="Seconds after which no case gets a further launch; every case gets its first. 660 for quick, unless "
            "--launches is given.",
        ),
    ] = None,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            parser=commandline.size,
            metavar="8GiB",
            help="Memory of a case, JVM included; 3/4 of the machine's if not given.",
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, max=10**6, metavar="N", help="Measured calls of a phase, while they take under half a second."
        ),
    ] = 3,
    seed: Seed = 0,
    no_skip: Annotated[
        bool, typer.Option("--no-skip", help="Also run sizes larger than one that ran out of time or memory.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for the run; one under reports/runs/ if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run: measure the cases that have no record yet.")
    ] = False,
    adapter: AdapterFiles = None,
) -> None:
    """Measure every case in its own process, write its record as soon as it ends, then make the report.

    quick: logistic and mlp on 150, 10,000 and 1,000,000 rows, tuned. full: 150 to 10,000,000 rows in steps of ten, all
    models, both tracks. Options override the profile. Ctrl-C ends the running case, keeps all records and makes the
    report of what there is; --resume then continues the run.
    """
    if resume:
        given = [name for name in context.params if _was_typed(context, name)]
        if strange := [name for name in given if name not in ("resume", "folder", "adapter")]:
            raise BadInput(
                f"--{strange[0].replace('_', '-')} cannot be combined with --resume: a resumed run keeps its settings"
            )
        folder = runner.resumed_folder(folder or Path("latest"))
        order = Order.read(folder)
        runner.check(order)
    else:
        if folder:
            raise BadInput(f"{folder}: use --resume {folder} to continue a run, or --output {folder} to name a new one")
        wanted = plan(PROFILES[profile], framework or (), model or (), rows or (), track or (), launches, threads, seed)
        memory_limit = memory_limit or environment.default_memory_limit()
        budget_s = time_budget or (None if launches else PROFILES[profile].time_budget_s)
        limits = Limits(time_limit, memory_limit, case_limit, rounds)
        order = Order(wanted, limits, not no_skip, budget_s, adapter_files.of(wanted.frameworks))
        runner.check(order)
        folder = runner.new_folder(output)
    with runner.locked(folder):
        if not resume:
            runner.claim(folder, order)
        try:
            _run_with_progress(folder, order)
        except Ended:
            with suppress(OSError):  # the terminal was closed
                console.print(
                    "interrupted: the running case was ended and all records are kept. Continue with "
                    f"./nox -s benchmark -- {order.resume_options(folder)}",
                    soft_wrap=True,
                )
            _report(folder)  # here, where further signals are ignored
            raise
        except OSError as error:
            if error.errno in WRONG_PATH:
                raise
            error.filename = error.filename or str(folder)
            error.strerror = (
                f"{error.strerror}. All records are kept: correct this, then go on with {order.resume_options(folder)}"
            )
            raise
        report = _report(folder)
    raise typer.Exit(report)


def _report(folder: Path) -> int:
    """Make the report in a process of its own, which Ctrl-C in the terminal does not reach; return its exit code."""
    return exit_with_parent.run("reports", [str(folder.resolve())], start_new_session=True).returncode


@app.command()
def compare(
    run_a: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="Before: a folder, a name under reports/runs/, latest.")
    ],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="After.")],
    phase: Annotated[
        str, typer.Option(parser=commandline.one_of("phase", records.PHASES), metavar="NAME", help="Whose times.")
    ] = "train",
    fail_on_slower: Annotated[
        float | None,
        typer.Option(parser=commandline.percent, metavar="10%", help="Exit code 1 if a case became slower by more."),
    ] = None,
) -> None:
    """Compare two runs case by case: faster, slower, or no measurable difference."""
    raise typer.Exit(comparison.command(run_a, run_b, phase, fail_on_slower, console))


@app.command("overhead")
def overhead_(
    framework: Annotated[
        str, typer.Option(parser=commandline.one_of("framework", tuple(registry.FRAMEWORKS)), metavar="NAME")
    ] = "baseline",
    rows: Annotated[int, typer.Option(parser=commandline.rows, metavar="N")] = "10_000",  # type: ignore[assignment]
    launches: Annotated[int, typer.Option(min=1, metavar="N", help="Processes for each model.")] = 3,
) -> None:
    """Show what measuring itself costs, by a short run of the adapter that does next to nothing."""
    wanted = plan(PROFILES["quick"], [framework], rows=[rows], launches=launches, threads=CORES)
    order = Order(wanted, Limits(600.0, environment.default_memory_limit()))
    runner.check(order)
    overhead.measure(order, _run_with_progress, console)


@app.command("straight")
def straight_(
    framework: Annotated[
        str, typer.Option(parser=commandline.one_of("framework", tuple(straight.STRAIGHT)), metavar="NAME")
    ],
    rows: Annotated[int, typer.Option(parser=commandline.rows, metavar="N")] = "1_000_000",  # type: ignore[assignment]
    rounds: Annotated[int, typer.Option(min=2, metavar="N", help="Trainings of each, in turns.")] = 9,
    threads: Threads = CORES,
) -> None:
    """Show what an adapter adds to its mlp recipe, by the same recipe written straight in the framework."""
    straight.measure(framework, rows, rounds, threads, console)


@app.command("tune")
def tune_(
    framework: Annotated[
        str, typer.Option(parser=commandline.one_of("framework", tuple(registry.FRAMEWORKS)), metavar="NAME")
    ],
    model: Annotated[str, typer.Option(parser=commandline.one_of("model", MODELS), metavar="|".join(MODELS))],
    rows: Annotated[
        list[int] | None,
        typer.Option(parser=commandline.rows, metavar="N", help="1e3 to 1e6 if not given. May be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Trainings of each candidate.")] = 3,
    threads: Threads = CORES,
    keep: Annotated[
        bool, typer.Option("--keep", help=f"Write the trainings into {tune.SWEEPS.name}/ and {tune.RECIPES.name}.")
    ] = False,
) -> None:
    """Compare recipes: train with the adapter's recipe and its candidates, and show which pass the quality gate.

    The candidates are in the adapter, after its recipe.
    """
    sizes = rows or [1_000, 10_000, 100_000, 1_000_000]
    trials = tune.sweep(framework, model, sizes, seeds, threads, lambda line: console.print(line, soft_wrap=True))
    trainings = tune.frame(framework, model, trials)
    console.print("\n".join(tune.table(trainings)), soft_wrap=True, markup=False)
    if keep:
        tune.keep(trainings)


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class _Progress(runner.Watcher):
    """Shows a run on the terminal: a line for each case that ended, and what the running one is doing."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._case = self._phase = ""
        self._since = 0.0

    def started(self, case: Case, launch: int) -> None:
        self._case, self._phase = f"{case}, launch {launch}", ""

    def phase(self, name: str | None) -> None:
        now = time.monotonic()
        if name and name != self._phase:
            self._phase, self._since = name, now
        self._bar.update(self._task, description=f"{self._case}: {self._phase} {now - self._since:.0f} s")

    def ended(self, record: Record) -> None:
        self._bar.console.print(_line(record), soft_wrap=True)
        self._bar.advance(self._task)

    def said(self, line: str) -> None:
        self._bar.console.print(line, soft_wrap=True, markup=False)


def _run_with_progress(folder: Path, order: Order) -> None:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("launches"),
        TimeElapsedColumn(),
        console=console,
    )
    steps = order.plan.steps()
    recorded = {(record.case, record.launch) for record in records.read(folder)}
    task = bar.add_task("starting", total=len(steps), completed=sum(step in recorded for step in steps))
    # Seldom, since drawing takes time from the cores that are being measured.
    with Live(bar, console=console, refresh_per_second=1, transient=True):
        runner.run(folder, order, _Progress(bar, task))


def _line(record: Record) -> str:
    """One ended case as a line of the terminal."""
    colour = {"ok": "green", "unavailable": "dim", "unsupported": "dim", "skipped": "dim"}.get(record.outcome, "red")
    text = f"[{colour}]{record.outcome:13}[/] {record.case!s:45} {record.launch}"
    if record.outcome != "ok":
        where = f"in {record.phase}: " if record.phase else ""
        return text + escape(f" {where}{shown(record.reason or '')}")
    train = sorted(record.phases["train"].seconds)
    median = train[len(train) // 2]
    text += f" train {median:.3g} s"
    if (quality := record.quality) is not None:
        missed = "" if quality.reached_target else f", below target: {shortfall([quality])}"
        text += f", accuracy {quality.accuracy:.4f}{missed}"
    return text


if __name__ == "__main__":
    commandline.main(app, "benchmarks")
