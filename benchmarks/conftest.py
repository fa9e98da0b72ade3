"""One pytest run measures one case: pytest-benchmark holds the clock, this file holds the case.

pytest benchmarks --framework pytorch-cpu --model mlp --rows 10_000
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from pytest_benchmark.fixture import BenchmarkFixture

import commandline
import machine
from adapters import exit_with_parent, registry
from adapters.base import MODELS, TRACKS, Resources
from adapters.errors import Unavailable, exhausted_memory
from benchmarks import environment, preparation
from benchmarks.cases import Case
from benchmarks.journal import Journal
from errors import BadInput


class BudgetSpent(BaseException):
    """Ends the rounds of a phase. No Exception, since pytest-benchmark would take it for a failure."""


def _word(parse: Callable[[str], int]) -> Callable[[str], int]:
    """A parser of our commands, with its complaint in the form that pytest shows."""

    def argument(text: str) -> int:
        try:
            return parse(text)
        except typer.BadParameter as error:
            raise argparse.ArgumentTypeError(error.message) from None

    return argument


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("irisbench", "the case to measure")
    group.addoption("--framework", help=f"one of {', '.join(registry.FRAMEWORKS)}, or what --adapter adds")
    group.addoption("--adapter", metavar="FILE.py", type=Path, help="add the framework of this file")
    group.addoption("--model", choices=MODELS, default="mlp")
    group.addoption("--rows", type=_word(commandline.rows), default=150, help="150 are the real flowers (default)")
    group.addoption("--track", choices=TRACKS, default="tuned")
    group.addoption("--threads", type=int, default=machine.usable_cores())
    group.addoption("--seed", type=int, default=0)
    group.addoption("--launch", type=int, default=1, help="the real flowers are scored in the first one only")
    group.addoption("--rounds", type=int, default=3, help="measured calls of each phase, at most")
    group.addoption("--time-limit", type=float, default=float("inf"), help="seconds that a phase may take")
    group.addoption("--memory-limit", type=_word(commandline.size), default=environment.default_memory_limit())
    group.addoption("--case-folder", type=Path, help="where the supervisor reads how far the case has come")


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
        raise pytest.UsageError(f"--threads {config.option.threads}: there are {machine.usable_cores()} cores to use")
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


@pytest.fixture(scope="session")
def case(pytestconfig: pytest.Config) -> Case:
    option = pytestconfig.option
    return Case(option.framework, option.model, option.rows, option.track, option.threads, option.seed)


@pytest.fixture(scope="session")
def inputs(case: Case, pytestconfig: pytest.Config) -> preparation.Inputs:
    if not pytestconfig.option.case_folder:  # else the supervisor has seen to it
        preparation.make(case.rows, case.seed)
    return preparation.inputs(case.rows, case.seed)


@pytest.fixture(scope="session")
def journal(pytestconfig: pytest.Config) -> Journal:
    pytestconfig.stash[JOURNAL] = Journal(pytestconfig.option.case_folder)
    return pytestconfig.stash[JOURNAL]


@pytest.fixture(scope="session")
def folder(pytestconfig: pytest.Config) -> Iterator[Path]:
    """Where this case keeps its files: the supervisor's folder, or one that goes with the session."""
    if pytestconfig.option.case_folder:
        yield pytestconfig.option.case_folder
    else:
        with tempfile.TemporaryDirectory(prefix="irisbench-") as temporary:
            yield Path(temporary)


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[SimpleNamespace]:
    """Holds the adapter once it is imported, and closes it however the session ends."""
    holder = SimpleNamespace(adapter=None)
    pytestconfig.stash[ENGINE] = holder
    yield holder
    if holder.adapter:
        holder.adapter.close()


@pytest.fixture(scope="session")
def resources(case: Case, folder: Path, pytestconfig: pytest.Config) -> Resources:
    device = registry.FRAMEWORKS[case.framework].device
    return Resources(case.threads, pytestconfig.option.memory_limit, folder, device)


Measure = Callable[..., None]


@pytest.fixture
def measure(benchmark: BenchmarkFixture, journal: Journal, pytestconfig: pytest.Config) -> Measure:
    """`measure(phase, work)` times `work`: `before` runs ahead of each round and is not timed.

    There is no further round when their number is reached or `budget_s` seconds are spent.
    """

    def run(
        phase: str,
        work: Callable[[], object],
        before: Callable[[], None] = lambda: None,
        rounds: int = 1,
        budget_s: float = math.inf,
        cold: bool = False,
    ) -> None:
        benchmark.group = "cold" if cold else None
        began = time.monotonic()

        def measured() -> list[float]:
            return list(benchmark.stats.stats.data) if benchmark.stats else []

        def setup() -> None:
            values = measured()
            spent = time.monotonic() - began
            # The limit holds for one call, and is kept for all of them together: no round is begun that could be cut
            # by it because of those before.
            if values and (spent > budget_s or spent + 2 * max(values) > pytestconfig.option.time_limit):
                raise BudgetSpent
            before()

        journal.begin(phase, cold)
        with contextlib.suppress(BudgetSpent):
            benchmark.pedantic(work, setup=setup, rounds=rounds)  # type: ignore[no-untyped-call]
        journal.end(measured())

    return run


JOURNAL = pytest.StashKey[Journal]()
ENGINE = pytest.StashKey[SimpleNamespace]()
STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends a supervised case without taking the interpreter apart, which takes a second with a large framework."""
    if config.option.case_folder and STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[STATUS])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Writes down why a phase failed, while the engine is still there to ask."""
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, Exception) and not isinstance(error, pytest.skip.Exception) and JOURNAL in item.config.stash:
        adapter = item.config.stash[ENGINE].adapter if ENGINE in item.config.stash else None
        outcome, reason = explain(error, adapter.log if adapter else None, item.config.option.memory_limit)
        item.config.stash[JOURNAL].write("error", outcome=outcome, reason=reason)
    return (yield)


def explain(error: Exception, log: Path | None, memory_limit: int) -> tuple[str, str]:
    """The outcome that an error stands for, and its reason in one line."""
    if isinstance(error, Unavailable):
        return "unavailable", str(error)
    if memory := exhausted_memory(error, log):
        heap = f", which is sized from the limit of {memory_limit / 2**30:.2f} GiB" if memory == "Java heap" else ""
        return "out-of-memory", f"the {memory} memory was exhausted{heap}"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return "failed", f"{type(error).__name__}: {first[:500]}" + (f" (log: {log})" if log else "")
