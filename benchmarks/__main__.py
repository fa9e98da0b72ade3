"""Measure how the frameworks train and predict, case by case: python -m benchmarks COMMAND."""

from __future__ import annotations

import windows  # noqa: F401, exits here on native Windows

# isort: split
import early

if __name__ == "__main__":
    early.prepare()

# isort: split
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import commandline
from adapters import exit_with_parent, registry
from adapters.base import MODELS, TRACKS
from benchmarks.cases import PROFILES, Limits, Plan, plan
from benchmarks.comparison import compare as comparison
from benchmarks.results import detect_environment, records
from benchmarks.scheduling import adapter_files, forecast, output_folder, runner
from benchmarks.scheduling.configuration import RunConfiguration
from benchmarks.scheduling.progress import Terminal
from benchmarks.tools import adapter_overhead, harness_overhead, tune
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


def _threads(text: str) -> int:
    """Return a number of threads. Raise BadParameter for more than this process may use."""
    if not text.isdecimal() or not int(text):
        raise typer.BadParameter(f"{text!r} is not a number of threads; write 1 or {CORES}.")
    if int(text) > CORES:
        raise typer.BadParameter(f"{text} threads: this process may use {CORES} cores; write {CORES} or less.")
    return int(text)


Profile = Annotated[str, typer.Option(parser=commandline.one_of("profile", tuple(PROFILES)), metavar="quick|full")]
Frameworks = Annotated[list[str] | None, _names("framework", registry.FRAMEWORKS)]
AdapterFiles = Annotated[list[Path] | None, commandline.adapter_files(registry.add_plugins)]
Models = Annotated[list[str] | None, _names("model", MODELS)]
Rows = Annotated[
    list[int] | None,
    typer.Option(parser=commandline.rows, metavar="N", help="150 (the real flowers), 10_000 or 1e6. May be repeated."),
]
Tracks = Annotated[list[str] | None, _names("track", TRACKS)]
Launches = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10**6,
        metavar="N",
        help="Launches (processes) of each case. By default, full makes 3, and quick adds launches to unclear results.",
    ),
]
Threads = Annotated[
    list[int] | None,
    typer.Option(
        parser=_threads,
        metavar="N",
        help="Number of cores that a case may use. May be repeated. By default, all cores; full also measures 1.",
    ),
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
    threads: Threads = None,
    seed: Seed = 0,
    adapter: AdapterFiles = None,
) -> None:
    """Show the cases that `run` would measure with the same options, and a forecast of their time."""
    chosen = _plan(profile, framework, model, rows, track, launches, threads, seed)
    forecast.show(chosen, None if launches else PROFILES[profile].time_budget_s, console)


def _plan(
    profile: str,
    framework: list[str] | None,
    model: list[str] | None,
    rows: list[int] | None,
    track: list[str] | None,
    launches: int | None,
    threads: list[int] | None,
    seed: int,
) -> Plan:
    chosen = PROFILES[profile]
    bound = threads or ([1, CORES] if chosen.single_thread else [CORES])
    return plan(chosen, framework or (), model or (), rows or (), track or (), launches, bound, seed)


@app.command()
def run(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="With --resume: the run to continue. By default, the newest."),
    ] = None,
    profile: Profile = "quick",
    framework: Frameworks = None,
    model: Models = None,
    rows: Rows = None,
    track: Tracks = None,
    launches: Launches = None,
    threads: Threads = None,
    time_limit: Annotated[
        float, typer.Option(min=0.1, max=1e9, metavar="S", help="Time limit for one call of a phase, in seconds.")
    ] = 600.0,
    case_limit: Annotated[
        float, typer.Option(min=1.0, max=1e9, metavar="S", help="Time limit for a whole case, in seconds.")
    ] = 3600.0,
    time_budget: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e9,
            metavar="S",
            help="Time budget of the run in seconds. After it, a case gets its first launch only. A resumed run "
            f"gets it again. By default, {PROFILES['quick'].time_budget_s:g} for quick without --launches.",
        ),
    ] = None,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            parser=commandline.size,
            metavar="8GiB",
            help="Memory limit of a case, including its JVM. By default, 3/4 of the machine's memory.",
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=1,
            max=10**6,
            metavar="N",
            help="Repeats of a phase with short calls. A call of 2 s or more is not repeated.",
        ),
    ] = 3,
    seed: Seed = 0,
    no_skip: Annotated[
        bool, typer.Option("--no-skip", help="Also measure sizes above one that ran out of time or memory.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New or empty folder for the run. By default, one under reports/runs/."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run: measure the cases that have no record yet.")
    ] = False,
    adapter: AdapterFiles = None,
) -> None:
    """Measure each case in its own process, write its record at once, and make the report at the end.

    quick: logistic and mlp, tuned, on 150 to 1,000,000 rows, and on 10,000,000 where that fits into the time budget.
    full: all models and tracks on 150 to 10,000,000 rows, with one thread and with all cores. Options override the
    profile. Ctrl-C ends the running case, keeps all records and makes a report of them; --resume continues the run.
    """
    if resume:
        given = [name for name in context.params if _was_typed(context, name)]
        if others := [name for name in given if name not in ("resume", "folder", "adapter")]:
            raise BadInput(
                f"--{others[0].replace('_', '-')} cannot be combined with --resume, because a resumed run keeps its "
                "settings; leave it out"
            )
        folder = output_folder.to_resume(folder or Path("latest"))
        configuration = RunConfiguration.read(folder)
        configuration.check()
    else:
        if folder:
            raise BadInput(f"{folder}: use --resume {folder} to continue a run, or --output {folder} to name a new one")
        chosen = _plan(profile, framework, model, rows, track, launches, threads, seed)
        memory_limit = memory_limit or detect_environment.default_memory_limit()
        budget_s = time_budget or (None if launches else PROFILES[profile].time_budget_s)
        limits = Limits(time_limit, memory_limit, case_limit, rounds)
        configuration = RunConfiguration(chosen, limits, not no_skip, budget_s, adapter_files.of(chosen.frameworks))
        configuration.check()
        folder = output_folder.new(output)
    with output_folder.locked(folder):
        if not resume:
            output_folder.claim(folder, configuration)
        try:
            _run_with_progress(folder, configuration)
        except Ended:
            with suppress(OSError):  # the terminal was closed
                console.print(
                    "interrupted: the running case was ended and all records are kept. Continue with "
                    f"./nox -s benchmark -- {configuration.resume_options(folder)}",
                    soft_wrap=True,
                )
            _report(folder)  # here, where further signals are ignored
            raise
        except OSError as error:
            if error.errno in WRONG_PATH:
                raise
            error.filename = error.filename or str(folder)
            error.strerror = (
                f"{error.strerror}. All records are kept. Solve this problem, then continue with "
                f"{configuration.resume_options(folder)}"
            )
            raise
        report = _report(folder)
    raise typer.Exit(report)


def _report(folder: Path) -> int:
    """Make the report in another process, which Ctrl-C in the terminal does not reach. Return its exit code."""
    return exit_with_parent.run("reports", [str(folder.resolve())], start_new_session=True).returncode


@app.command()
def compare(
    run_a: Annotated[
        Path,
        typer.Argument(metavar="RUN_A", help="Run before the change: a folder, a name under reports/runs/, or latest."),
    ],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Run after the change.")],
    phase: Annotated[
        str,
        typer.Option(parser=commandline.one_of("phase", records.PHASES), metavar="NAME", help="Phase to compare."),
    ] = "train",
    fail_on_slower: Annotated[
        float | None,
        typer.Option(
            parser=commandline.percent,
            metavar="10%",
            help="Exit with code 1 if a case became slower by more than this, or failed only in RUN_B.",
        ),
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
    """Show the cost of the harness itself, measured by a short run of an adapter that does almost nothing."""
    chosen = plan(PROFILES["quick"], [framework], rows=[rows], launches=launches, threads=[CORES])
    configuration = RunConfiguration(chosen, Limits(600.0, detect_environment.default_memory_limit()))
    configuration.check()
    harness_overhead.measure(configuration, _run_with_progress, console)


@app.command("adapter-overhead")
def adapter_overhead_(
    framework: Annotated[
        str,
        typer.Option(parser=commandline.one_of("framework", tuple(adapter_overhead.WITHOUT_ADAPTER)), metavar="NAME"),
    ],
    rows: Annotated[int, typer.Option(parser=commandline.rows, metavar="N")] = "1_000_000",  # type: ignore[assignment]
    rounds: Annotated[int, typer.Option(min=2, metavar="N", help="Trainings of each variant, alternately.")] = 9,
    threads: Annotated[int, typer.Option(parser=_threads, metavar="N", help="Cores to use.")] = str(CORES),  # type: ignore[assignment]
) -> None:
    """Compare the mlp recipe of an adapter with the same recipe written directly in the framework."""
    adapter_overhead.measure(framework, rows, rounds, threads, console)


@app.command("tune")
def tune_(
    framework: Annotated[
        str, typer.Option(parser=commandline.one_of("framework", tuple(registry.FRAMEWORKS)), metavar="NAME")
    ],
    model: Annotated[str, typer.Option(parser=commandline.one_of("model", MODELS), metavar="|".join(MODELS))],
    rows: Annotated[
        list[int] | None,
        typer.Option(parser=commandline.rows, metavar="N", help="By default, 1e3, 1e4, 1e5 and 1e6. May be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Trainings of each candidate.")] = 3,
    threads: Annotated[int, typer.Option(parser=_threads, metavar="N", help="Cores to use.")] = str(CORES),  # type: ignore[assignment]
    keep: Annotated[
        bool, typer.Option("--keep", help=f"Save the trainings in {tune.SWEEPS.name}/ and {tune.RECIPES.name}.")
    ] = False,
) -> None:
    """Compare recipes: train with the adapter's recipe and its candidates, and show which pass the quality gate.

    The adapter's method `candidates` returns the candidates.
    """
    sizes = rows or [1_000, 10_000, 100_000, 1_000_000]
    trials = tune.sweep(
        framework, model, sizes, seeds, threads, lambda line: console.print(line, soft_wrap=True, markup=False)
    )
    trainings = tune.frame(framework, model, trials)
    console.print("\n".join(tune.table(trainings)), soft_wrap=True, markup=False)
    if keep:
        tune.keep(trainings)


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _run_with_progress(folder: Path, configuration: RunConfiguration) -> None:
    terminal = Terminal(console, configuration, folder)
    with terminal.shown():
        runner.run(folder, configuration, terminal)


if __name__ == "__main__":
    commandline.main(app, "benchmarks")
