"""Damaged files for tests/mutated.py, the commands that read them, and the checks of their outputs."""

from __future__ import annotations

import csv
import gzip
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import vl_convert

import benchmarks.__main__
from adapters import model_folder
from benchmarks.case_data import ExactFit
from benchmarks.results import environment, records
from benchmarks.scheduling import configuration, runner
from benchmarks.supervision import supervisor
from datasets import cache, delimited, tables
from datasets.files import read_json
from errors import BadInput
from reports import charts
from tests import model_folders
from tests.conftest import ROOT
from tests.mutations import damaged, with_another_cell, with_another_column, with_other_bytes
from tests.test_tables import FORMS

IRIS = ROOT / "datasets" / "iris.csv"
DATASET = ["--rows", "2000", "--seed", "7"]


def nothing_wrong(box: Path, stdout: str) -> list[str]:
    return []


@dataclass
class Trial:
    """A command with a damaged input, in a folder `box`.

    A successful command may change files under `output`, and a failed one files under `residue`. Both are relative to
    `box`. `check` gets the box and standard output, and returns the faults of the output. `prepare` runs in the child.
    """

    words: Sequence[object]
    output: str = "out"
    residue: str = "no file"
    check: Callable[[Path, str], list[str]] = nothing_wrong
    prepare: Callable[[], object] = lambda: None
    many_problems: bool = False


# --- Checks of an output


def predictions(box: Path, stdout: str) -> list[str]:
    """Return a fault for each file of predictions that the command did not report with its number of rows."""
    reported = {
        name: int(rows.replace(",", "")) for name, rows in re.findall(r"(?m)^(.*): ([\d,]+) predictions by", stdout)
    }
    files = [path for path in [box / "out", *(box / "out").rglob("*")] if path.is_file()]
    faults = [] if reported.keys() == set(map(str, files)) else [f"reported {sorted(reported)}, files {sorted(files)}"]
    for path in files:
        with path.open(newline="") as file:
            _, *rows = csv.reader(file)
        shares = np.array([row[-3:] for row in rows], float)
        if reported.get(str(path)) != len(rows) or not np.allclose(shares.sum(axis=1), 1, atol=1e-5):
            faults.append(
                f"{path.name} has {len(rows)} rows, reported {reported.get(str(path))}, sums {shares.sum(axis=1)[:3]}"
            )
    return faults


def model(name: str) -> Callable[[Path, str], list[str]]:
    def check(box: Path, stdout: str) -> list[str]:
        try:
            model_folder.read_verified(box / name)
        except BadInput as problem:
            return [f"an incomplete model: {problem}"]
        return []

    return check


def page_in(name: str) -> Callable[[Path, str], list[str]]:
    def check(box: Path, stdout: str) -> list[str]:
        text = (box / name / "report.html").read_text() if (box / name / "report.html").exists() else ""
        return [] if text.rstrip().endswith("</html>") else ["report.html is incomplete"]

    return check


def dataset(box: Path, stdout: str) -> list[str]:
    return cache.check(box / "in")


def target(box: Path, stdout: str) -> list[str]:
    [path] = (box / "in").glob("maximum-likelihood-*.json")
    try:
        kept = read_json(path, ExactFit)
    except BadInput as problem:
        return [f"an incomplete reference: {problem}"]
    return [] if (kept.rows, kept.seed) == (2_000, 7) else [f"a reference of other data: {kept}"]


# --- Damaged inputs: each function writes one into `box`, and returns the command that reads it


def in_small_pieces() -> None:
    """Read tables a few rows at a time, so that some predictions are written before the damage is found."""
    delimited.BLOCK_BYTES, tables.PIECE_ROWS, tables.BATCH_ROWS = 1024, 30, 15


def flowers(paths: Sequence[Path], chance: random.Random, box: Path, made: Path) -> Trial:
    """Train with a table, or predict a table or a folder of tables."""
    prepare = chance.choice([in_small_pieces, lambda: None])
    predict = [
        "adapters",
        "predict",
        "--model",
        made / "baseline-mlp",
        "--threads",
        "1",
        "--output",
        box / "out",
        "--data",
    ]
    if len(paths) > 1:
        return Trial([*predict, box / "in"], residue="out", check=predictions, prepare=prepare, many_problems=True)
    if chance.random() < 0.4:
        words = ["--framework", chance.choice(["baseline", "scikit-learn"]), "--model", "logistic", "--threads", "1"]
        return Trial(["adapters", "train", *words, "--data", paths[0], "--output", box / "out"], check=model("out"))
    return Trial([*predict, paths[0]], check=predictions, prepare=prepare)


def csv_file(chance: random.Random, box: Path, made: Path) -> Trial:
    count = chance.choice([1, 1, 1, 1, 1, 3])
    names = [name for name in sorted(FORMS) if count == 1 or name.endswith((".csv", ".csv.gz"))]
    paths = [box / "in" / name for name in chance.sample(names, count)]
    for number, path in enumerate(paths):
        content, packed = FORMS[path.name], path.suffix == ".gz" and chance.random() < 0.5
        change = chance.choice([with_other_bytes, with_another_cell, with_another_cell])
        if path.suffix == ".gz" and (packed or change is with_another_cell):
            content = gzip.compress(change(gzip.decompress(content), chance))
        elif number < 2:
            content = change(content, chance)
        path.write_bytes(content)
    return flowers(paths, chance, box, made)


def parquet_file(chance: random.Random, box: Path, made: Path) -> Trial:
    """Write Parquet with other columns or values, with other bytes anywhere, or with other bytes before the footer."""
    how, table = chance.choice(["table", "pages", "bytes"]), pa.csv.read_csv(IRIS)
    if how == "table":
        for _ in range(chance.choice([1, 1, 2])):
            table = with_another_column(table, chance)
    path = box / "in" / "flowers.parquet"
    compression = chance.choice(["none", "snappy", "gzip"])
    pa.parquet.write_table(table, path, 60, compression=compression, use_dictionary=chance.random() < 0.5)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    if how == "pages":
        changed = bytearray(content)
        for _ in range(chance.choice([1, 1, 5])):
            changed[chance.randrange(4, footer)] = chance.randrange(256)
        path.write_bytes(changed)
    elif how == "bytes":
        path.write_bytes(with_other_bytes(content, chance))
    return flowers([path], chance, box, made)


def model_of(framework: str) -> Callable[[random.Random, Path, Path], Trial]:
    def damage(chance: random.Random, box: Path, made: Path) -> Trial:
        folder = box / "in" / "model"
        shutil.copytree(made / f"{framework}-{chance.choice(['logistic', 'mlp'])}", folder)
        model_folders.mutate(folder, chance)
        if chance.random() < 0.1:
            words = ["--framework", "baseline", "--model", "mlp", "--data", IRIS, "--output", folder, "--threads", "1"]
            return Trial(["adapters", "train", *words], output="in/model", check=model("in/model"))
        words = ["--model", folder, "--data", IRIS, "--output", box / "out", "--threads", "1"]
        return Trial(["adapters", "predict", *words], check=predictions)

    return damage


def without_drawing() -> None:
    """Make reports without charts, because charts take seconds."""
    vl_convert.javascript_bundle = lambda *_: ""
    charts.figures = lambda run, contenders: []


def stop_at(*, case: bool, report: bool, cases: Path) -> Callable[[], None]:
    """End a resumed run with success before its first case or before its report, because both take seconds."""

    def end(case: object, limits: object, place: Path, *rest: object) -> NoReturn:
        sys.exit(0 if place.resolve().parent == cases.resolve() else f"a case outside the run: {place}")

    def prepare() -> None:
        if case:
            supervisor.run, runner.prepare, runner.speed_probe = end, lambda rows, seed: [], lambda: (0.01,)  # type: ignore
        if report:
            benchmarks.__main__._report = lambda folder: 0

    return prepare


def resumed(run: Path, box: Path, case: bool, report: bool) -> Trial:
    """Resume a run. It may move records to the second file, but must not lose any."""
    recorded = run / records.FILE
    before = [line for line in recorded.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def check(box: Path, stdout: str) -> list[str]:
        after = b"".join(path.read_bytes() for path in (recorded, run / records.SET_ASIDE) if path.exists())
        lost = [f"lost: {line[:60]!r}" for line in before if line.strip() and line.strip() not in after]
        return lost + ([] if report else page_in("in/run")(box, stdout))

    stop = stop_at(case=case, report=report, cases=run / "cases")
    return Trial(["benchmarks", "run", "--resume", run], "in/run", "in/run/.lock", check, stop)


def file_of_a_run(name: str) -> Callable[[random.Random, Path, Path], Trial]:
    def damage(chance: random.Random, box: Path, made: Path) -> Trial:
        run, drawn = box / "in" / "run", chance.random() < 0.06
        how = chance.choice(["report", "report", "report", "report here", "compare", "resume"])
        shutil.copytree(made / ("mine" if how == "resume" else "received"), run)
        (run / name).write_bytes(damaged((run / name).read_text(), chance))
        if how == "compare":
            pair = chance.sample([made / "received", run], 2)
            return Trial(["benchmarks", "compare", *pair])
        if how == "resume":
            return resumed(run, box, case=not drawn, report=not drawn)
        words, output = (["--output", box / "out"], "out") if how == "report" else ([], "in/run")
        prepare = (lambda: None) if drawn else without_drawing
        return Trial(["reports", run, *words], output, check=page_in(output), prepare=prepare)

    return damage


def plan(chance: random.Random, box: Path, made: Path) -> Trial:
    run = box / "in" / "run"
    shutil.copytree(made / "mine", run)
    path = run / configuration.FILE
    path.write_bytes(damaged(path.read_text(), chance))
    return resumed(run, box, case=True, report=chance.random() < 0.9)


def manifest(chance: random.Random, box: Path, made: Path) -> Trial:
    [source] = (made / "cache").glob("train-2000-*")
    shutil.copytree(source, box / "in", dirs_exist_ok=True)
    (box / "in" / cache.MANIFEST).write_bytes(damaged((source / cache.MANIFEST).read_text(), chance))
    if chance.random() < 0.5:
        return Trial(["datasets", "describe", box / "in"], check=dataset)
    return Trial(["datasets", "make", *DATASET, "--output", box / "in"], "in", "in/.lock", dataset)


def logistic_target(chance: random.Random, box: Path, made: Path) -> Trial:
    """Damage a reference in the cache, for the process that prepares the data of a run, and rarely for a whole run."""
    shutil.copytree(made / "cache", box / "in", dirs_exist_ok=True)
    [path] = (box / "in").glob("maximum-likelihood-*.json")
    path.write_bytes(damaged(path.read_text(), chance))
    os.environ["IRISBENCH_DATA"] = str(box / "in")
    if chance.random() < 0.94:
        return Trial(["benchmarks.case_data", "2000", "7"], "in", check=target)
    words = ["--framework", "baseline", "--model", "logistic", *DATASET, "--launches", "1", "--output", box / "out"]
    return Trial(["benchmarks", "run", *words], "", check=lambda *answer: target(*answer) + page_in("out")(*answer))


KINDS: dict[str, tuple[int, Callable[[random.Random, Path, Path], Trial]]] = {
    "csv": (500, csv_file),
    "parquet": (400, parquet_file),
    "model-baseline": (200, model_of("baseline")),
    "model-scikit-learn": (400, model_of("scikit-learn")),
    "model-pytorch-cpu": (300, model_of("pytorch-cpu")),
    "records": (400, file_of_a_run(records.FILE)),
    "environment": (250, file_of_a_run(environment.FILE)),
    "plan": (250, plan),
    "manifest": (200, manifest),
    "target": (100, logistic_target),
}
"""For each kind, the number of inputs in a full campaign and the function that makes one."""
