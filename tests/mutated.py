"""Give damaged files to the commands, and count unacceptable results: python -m tests.mutated

This is a campaign and not a test: 3,000 inputs take about ten minutes. Each input has a seed, so it can be repeated
alone. A forked copy of this process reads each input, because importing the frameworks again would take seconds.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import random
import runpy
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

import adapters.__main__
import adapters.pytorch
import adapters.scikit_learn
import benchmarks.__main__
import commandline
import datasets.__main__
import datasets.maximum_likelihood
import reports.__main__
from benchmarks.results import detect_environment, environment, records
from benchmarks.scheduling.configuration import RunConfiguration
from datasets.files import write_json
from tests.factories import make_run, record
from tests.mutated_inputs import IRIS, KINDS, predictions
from tests.planned_run import make_planned_run
from tests.test_received import ABOUT, RECORDS

APPS = {
    "adapters": adapters.__main__.app,
    "benchmarks": benchmarks.__main__.app,
    "datasets": datasets.__main__.app,
    "reports": reports.__main__.app,
}
TIMEOUT_S = 60.0
WORKERS = 2

app = typer.Typer(add_completion=False)
console = Console(highlight=False)


@dataclass(frozen=True)
class Answer:
    """The end of a command.

    `code` is negative for a signal and None after a timeout. `faults` is empty if the answer is acceptable.
    """

    kind: str
    seed: int
    code: int | None
    faults: tuple[str, ...]
    command: str


def contents(box: Path) -> dict[str, str]:
    """Return every file below a folder, with its checksum."""
    return {
        path.relative_to(box).as_posix(): "link" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(box.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def fork(words: Sequence[object], prepare: Callable[[], object], box: Path, log: Path) -> int | None:
    """Run a command in a child process. Return its exit code, negative for a signal, or None after a timeout."""
    child = os.fork()
    if not child:
        _become(list(map(str, words)), prepare, box, log)
    descriptor = os.pidfd_open(child)
    ended, _, _ = select.select([descriptor], [], [], TIMEOUT_S)
    os.close(descriptor)
    if not ended:
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if ended else None


def _become(words: list[str], prepare: Callable[[], object], box: Path, log: Path) -> NoReturn:
    """Run a command as if this process had been started for it, and exit."""
    code: Any = 1
    try:
        os.setsid()
        for number, name in ((0, os.devnull), (1, f"{log}.out"), (2, f"{log}.err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.environ["TMPDIR"] = tempfile.tempdir = str(box / "tmp")
        prepare()
        sys.argv = words
        if words[0] in APPS:
            commandline.main(APPS[words[0]], words[0])
        sys.modules.pop(words[0], None)  # runpy warns about a module that was already imported
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def attempt(kind: str, seed: int, folder: Path) -> Answer:
    """Damage one input, run the command that reads it, and look for faults."""
    box, chance = folder / f"{kind}-{seed}" / "box", random.Random(f"{kind} {seed}")
    for name in ("in", "tmp"):
        (box / name).mkdir(parents=True)
    (box / "thesis.txt").write_text("ten years\n")
    os.environ["IRISBENCH_DATA"] = str(folder / "cache")
    trial = KINDS[kind][1](chance, box, folder / "made")
    before, log = contents(box), box.parent / "log"
    code = fork(trial.words, trial.prepare, box, log)
    stdout, stderr = (Path(f"{log}{end}").read_text(errors="replace") for end in (".out", ".err"))
    after = contents(box)
    allowed = trial.residue if code else trial.output
    faults = [] if code in (0, 1, 2) else ["timeout" if code is None else f"exit code {code}"]
    faults += [
        f"changed: {name}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and not f"{name}/".startswith(f"{allowed}/" if allowed else "")
    ]
    if "\x1b" in stdout + stderr:
        faults.append("terminal escape")
    lines = stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if "Traceback" in stdout + stderr:
        faults.append(f"traceback: {(lines or [''])[-1]}")
    else:
        faults += [
            f"line: {line[:200]}"
            for line in lines
            if not line.startswith(("error: ", "warning: ")) and not (code == 0 and line.endswith("made again"))
        ]
    if bool(errors) != bool(code) or (len(errors) > 1 and not trial.many_problems):
        faults.append(f"exit code {code} with {len(errors)} lines of error")
    if code == 0 or trial.check is predictions:
        try:
            faults += trial.check(box, stdout)
        except Exception as error:  # for example half a line of predictions
            faults.append(f"the output cannot be checked: {error!r}")
    if not faults:
        shutil.rmtree(box.parent)
    return Answer(kind, seed, code, tuple(faults), " ".join(map(str, trial.words)))


def prepare_inputs(folder: Path) -> None:
    """Make the undamaged files: models, runs, and a cache with a dataset and a reference."""
    made = folder / "made"
    (folder / "tmp").mkdir()
    os.environ["IRISBENCH_DATA"] = str(made / "cache")
    make_run(made / "received", RECORDS, ABOUT)
    run = make_planned_run(made / "mine")
    planned = RunConfiguration.read(run)
    [(case, _)] = planned.plan.steps()
    records.append(run, replace(record("baseline", rows=150), run="mine", case=case))
    write_json(run / environment.FILE, detect_environment.describe("mine", planned.settings))
    commands: list[Sequence[object]] = [
        ["adapters", "train", "--framework", name, "--model", kind, "--data", IRIS, "--output", made / f"{name}-{kind}"]
        for name, kind in itertools.product(("baseline", "scikit-learn", "pytorch-cpu"), ("logistic", "mlp"))
    ]
    for words in [*commands, ["benchmarks.case_data", "2000", "7"]]:
        if fork(words, lambda: None, folder, folder / "log"):
            raise SystemExit((folder / "log.err").read_text())


def show(answers: Sequence[Answer]) -> None:
    table = Table("kind", "inputs", "accepted", "refused", "faults")
    for kind in [*dict.fromkeys(answer.kind for answer in answers), "all"]:
        same = [answer for answer in answers if kind in (answer.kind, "all")]
        counts = [sum(answer.code == 0 for answer in same), sum(answer.code in (1, 2) for answer in same)]
        table.add_row(kind, *map(str, [len(same), *counts, sum(bool(answer.faults) for answer in same)]))
    console.print(table)


@app.command()
def main(
    count: Annotated[
        int, typer.Option(min=1, metavar="N", help="Total number of inputs, distributed over the kinds.")
    ] = 3_000,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the first input of a kind. Each further input adds 1.")
    ] = 0,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            parser=commandline.one_of("kind", tuple(KINDS)),
            metavar="NAME",
            help="Only inputs of this kind. May be repeated.",
        ),
    ] = None,
) -> None:
    """Damage files of every kind that the commands read. Each answer must be a result, or one line with the reason."""
    shares = {name: KINDS[name][0] for name in kind or KINDS}
    folder, began, answers = Path(tempfile.mkdtemp(prefix="irisbench-mutated-")), time.monotonic(), []
    prepare_inputs(folder)
    whole = contents(folder / "made")
    kinds, seeds = [], []
    for name, share in shares.items():
        for number in range(seed, seed + max(1, round(count * share / sum(shares.values())))):
            kinds.append(name)
            seeds.append(number)
    try:
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork")) as pool:
            for answer in pool.map(attempt, kinds, seeds, [folder] * len(kinds)):
                answers.append(answer)
                if answer.faults:
                    where = f"--kind {answer.kind} --seed {answer.seed}"
                    text = f"{where}: {'; '.join(answer.faults)}\n    {answer.command}"
                    console.print(text, soft_wrap=True, markup=False)
    finally:
        show(answers)
        console.print(f"{time.monotonic() - began:.0f} s")
    faulty = any(answer.faults for answer in answers)
    if whole != contents(folder / "made"):
        console.print("a command has changed an undamaged file")
        faulty = True
    if faulty:
        console.print(f"the inputs with faults are in {folder}")
    else:
        shutil.rmtree(folder)
    raise typer.Exit(int(faulty))


if __name__ == "__main__":
    commandline.main(app, "tests.mutated")
