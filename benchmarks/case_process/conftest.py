"""The process of one case: its options, its fixtures, and the clock of pytest-benchmark.

pytest benchmarks/case_process --framework pytorch-cpu --model mlp --rows 10_000
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pytest_benchmark.fixture import BenchmarkFixture

import commandline
import machine
from adapters import exit_with_parent, registry
from adapters.base import MODELS, TRACKS, Adapter, Resources
from adapters.errors import Unavailable, exhausted_memory, first_line
from benchmarks import case_data
from benchmarks.case_process.events import EventLog
from benchmarks.case_process.phase_timer import Timer
from benchmarks.cases import Case
from benchmarks.results import detect_environment
from benchmarks.results.records import Outcome
from errors import BadInput

LONGEST_REASON = 500
"""The largest number of characters of an error message in a record."""


def _argument(parse: Callable[[str], int]) -> Callable[[str], int]:
    """Return an option parser that raises the errors that pytest can show."""

    def argument(text: str) -> int:
        try:
            return parse(text)
        except typer.BadParameter as error:
            raise argparse.ArgumentTypeError(error.message) from None

    return argument


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("irisbench", "the case to measure")
    group.addoption("--framework", help=f"one of {', '.join(registry.FRAMEWORKS)}, or the framework of --adapter")
    group.addoption("--adapter", metavar="FILE.py", type=Path, help="add the framework of this file")
    group.addoption("--model", choices=MODELS, default="mlp")
    group.addoption("--rows", type=_argument(commandline.rows), default=150, help="default 150, the real flowers")
    group.addoption("--track", choices=TRACKS, default="tuned")
    group.addoption("--threads", type=int, default=machine.usable_cores())
    group.addoption("--seed", type=int, default=0)
    group.addoption("--launch", type=int, default=1, help="1 also scores the real flowers")
    group.addoption("--rounds", type=int, default=3, help="the largest number of repeats of a phase")
    group.addoption("--time-limit", type=float, default=float("inf"), help="seconds for one repeat of a phase")
    group.addoption(
        "--memory-limit", type=_argument(commandline.size), default=detect_environment.default_memory_limit()
    )
    group.addoption("--case-folder", type=Path, help="the folder for the event log, which the supervisor reads")


def pytest_configure(config: pytest.Config) -> None:
    name = config.option.framework
    try:
        if config.option.adapter:
            registry.add(config.option.adapter)
        if name and name not in registry.FRAMEWORKS:
            registry.add_installed()
    except BadInput as error:
        raise pytest.UsageError(str(error)) from None
    if name and name not in registry.FRAMEWORKS:
        raise pytest.UsageError(f"there is no framework {name!r}; choose from {', '.join(registry.FRAMEWORKS)}")
    if not 1 <= config.option.threads <= machine.usable_cores():
        cores = machine.usable_cores()
        raise pytest.UsageError(f"--threads {config.option.threads}: this process may use 1 to {cores} cores")
    config.option.maxfail = 1
    if config.option.case_folder:
        exit_with_parent.watch_input()
    machine.pin(config.option.threads)


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    name = config.option.framework
    if name is None:
        raise pytest.UsageError(f"name a framework: --framework {'|'.join(registry.FRAMEWORKS)}")
    if reason := registry.FRAMEWORKS[name].missing():
        raise pytest.UsageError(f"{name} is unavailable: {reason}")


class Engine:
    """The holder of the adapter, which exists after the import phase."""

    def __init__(self) -> None:
        self._adapter: Adapter[Any, Any] | None = None

    def create(self, framework: str, track: str) -> None:
        self._adapter = registry.FRAMEWORKS[framework].create(track)

    @property
    def adapter(self) -> Adapter[Any, Any]:
        assert self._adapter, "the import phase has not ended"
        return self._adapter

    @property
    def log(self) -> Path | None:
        return self._adapter.log if self._adapter else None

    def close(self) -> None:
        if self._adapter:
            self._adapter.close()


EVENTS = pytest.StashKey[EventLog]()
ENGINE = pytest.StashKey[Engine]()
STATUS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def case(pytestconfig: pytest.Config) -> Case:
    option = pytestconfig.option
    return Case(option.framework, option.model, option.rows, option.track, option.threads, option.seed)


@pytest.fixture(scope="session")
def inputs(case: Case, pytestconfig: pytest.Config) -> case_data.Inputs:
    if not pytestconfig.option.case_folder:  # otherwise the supervisor has made them
        case_data.make(case.rows, case.seed)
    return case_data.inputs(case.rows, case.seed)


@pytest.fixture(scope="session")
def events(pytestconfig: pytest.Config) -> EventLog:
    pytestconfig.stash[EVENTS] = EventLog(pytestconfig.option.case_folder)
    return pytestconfig.stash[EVENTS]


@pytest.fixture(scope="session")
def folder(pytestconfig: pytest.Config) -> Iterator[Path]:
    """The folder for the files of this case: the supervisor's, or a temporary one."""
    if pytestconfig.option.case_folder:
        yield pytestconfig.option.case_folder
    else:
        with tempfile.TemporaryDirectory(prefix="irisbench-") as temporary:
            yield Path(temporary)


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[Engine]:
    """The holder of the adapter, which is closed however the session ends."""
    pytestconfig.stash[ENGINE] = Engine()
    yield pytestconfig.stash[ENGINE]
    pytestconfig.stash[ENGINE].close()


@pytest.fixture(scope="session")
def resources(case: Case, folder: Path, pytestconfig: pytest.Config) -> Resources:
    device = registry.FRAMEWORKS[case.framework].device
    return Resources(case.threads, pytestconfig.option.memory_limit, folder, device)


@pytest.fixture
def measure(benchmark: BenchmarkFixture, events: EventLog, pytestconfig: pytest.Config) -> Timer:
    return Timer(benchmark, events, pytestconfig.option.time_limit, pytestconfig.option.rounds)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process of a supervised case at once: a normal exit of a large framework takes a second."""
    if config.option.case_folder and STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[STATUS])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Log why a phase failed, while the engine can still be asked."""
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, Exception) and not isinstance(error, pytest.skip.Exception) and EVENTS in item.config.stash:
        log = item.config.stash[ENGINE].log if ENGINE in item.config.stash else None
        item.config.stash[EVENTS].fail(*explain(error, log, item.config.option.memory_limit))
    return (yield)


def explain(error: Exception, log: Path | None, memory_limit: int) -> tuple[Outcome, str]:
    """Return the outcome of a case with this error, and the reason in one line."""
    if isinstance(error, Unavailable):
        return "unavailable", str(error)
    if memory := exhausted_memory(error, log):
        heap = f" (its size is based on the limit of {memory_limit / 2**30:.2f} GiB)" if memory == "Java heap" else ""
        return "out-of-memory", f"the {memory} memory was exhausted{heap}"
    return "failed", first_line(error)[:LONGEST_REASON] + (f" (log: {log})" if log else "")
