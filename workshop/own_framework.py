"""What exercise 2 does with a student's adapter file: hints for its gaps, the contract tests, and a run."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from adapters import plugins
from adapters.base import Resources
from datasets import streaming
from datasets.flowers import real_flowers
from machine import ROOT
from workshop.checks import NotYet

GAPS = {
    1: ("train",),
    2: ("_distances", "predict", "predict_proba", "predict_one"),
    3: ("save", "restore"),
}
"""The methods that a student writes."""


def folder() -> None:
    """Make the folder `my/` for the student's file. Git leaves it alone."""
    (ROOT / "my").mkdir(exist_ok=True)


def check(file: Path | str) -> None:
    """Try the student's adapter method by method. NotYet says which gap is not right yet, and why."""
    path = Path(file).resolve()
    try_out(path.read_text(), plugins.read(path).adapter)
    print(f"Right. {path.relative_to(ROOT)} is ready for the contract tests.")


def try_out(source: str, of_class: str) -> None:
    """Asks the adapter about the real flowers, method by method; NotYet says which gap is not right yet, and why."""
    names: dict[str, Any] = {"__name__": "own"}
    exec(compile(source, "your adapter", "exec"), names)  # the student's own code, in the student's own notebook
    adapter = names[of_class]()
    adapter.start(Resources(1, 2**30, Path()))
    features, species = real_flowers()
    table = streaming.InMemory(features.copy(), species.copy())
    _begun(1, source)
    model = _hinted(1, "train", lambda: adapter.train(table, adapter.recipe("logistic", 150), 0))
    averages = np.stack([features[species == code].mean(axis=0) for code in range(3)])
    _learned(model, averages, features, species)
    _begun(2, source)
    _asked(adapter, model, averages, table)
    _begun(3, source)
    with TemporaryDirectory() as folder:
        _kept(adapter, model, Path(folder), table)


def _begun(gap: int, source: str) -> None:
    """NotYet if a method of this gap still ends with the `...` of the template."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name in GAPS[gap]:
            last = node.body[-1]
            if (
                isinstance(last, ast.Expr | ast.Return)
                and isinstance(last.value, ast.Constant)
                and last.value.value is ...
            ):
                raise NotYet(f"gap {gap}: {node.name} is still `...`; put in its place what it returns or does.")


def _hinted(gap: int, method: str, call: Callable[[], Any]) -> Any:
    """What a method returns; an error in it is told as a hint, with the gap that it is in."""
    try:
        return call()
    except Exception as error:
        raise NotYet(f"gap {gap}: {method} ends with {type(error).__name__}: {error}") from None


def _learned(model: Any, averages: np.ndarray, features: np.ndarray, species: np.ndarray) -> None:
    if not isinstance(model, np.ndarray):
        raise NotYet(f"gap 1: train returns a {type(model).__name__}; keep the averages in one NumPy array.")
    if model.shape == (4, 3):
        raise NotYet("gap 1: the averages have the shape (4, 3): turn them round, a species is a row.")
    if model.shape == (4,):
        raise NotYet("gap 1: there is one average flower of all. Each species has its own.")
    if model.shape == (3,):
        raise NotYet("gap 1: there is one number for each species. An average flower has four: see axis.")
    if model.shape != (3, 4):
        raise NotYet(f"gap 1: the averages have the shape {model.shape}, and should have (3, 4).")
    if np.allclose(model, averages, atol=1e-3):
        return
    sums = np.stack([features[species == code].sum(axis=0) for code in range(3)])
    medians = np.stack([np.median(features[species == code], axis=0) for code in range(3)])
    if np.allclose(model, sums, rtol=1e-3):
        raise NotYet("gap 1: these are sums. An average is the sum over the number of flowers.")
    if np.allclose(model, medians, atol=1e-3):
        raise NotYet("gap 1: these are medians, and no averages. A fine idea, and another classifier.")
    if np.allclose(np.sort(model, axis=0), np.sort(averages, axis=0), atol=1e-3):
        raise NotYet("gap 1: the averages are right, and stand in another order than the codes 0, 1, 2.")
    raise NotYet("gap 1: these are not the averages of the three species in cm. Whose rows did you take?")


def _asked(adapter: Any, model: np.ndarray, averages: np.ndarray, table: streaming.InMemory[Any]) -> None:
    rows = len(table)
    distances = _hinted(2, "_distances", lambda: adapter._distances(model, table.features))
    shape = getattr(distances, "shape", None)
    if shape == (3, rows):
        raise NotYet(f"gap 2: the distances have the shape {shape}: turn them round, a flower is a row.")
    if shape != (rows, 3):
        raise NotYet(f"gap 2: the distances have the shape {shape}, and should have ({rows}, 3).")
    if (distances < 0).any():
        raise NotYet(
            "gap 2: some distances are negative: differences cancel out unless they are squared before the sum."
        )
    truth = ((table.features[:, None, :] - averages) ** 2).sum(axis=2)
    codes = _hinted(2, "predict", lambda: adapter.predict(model, table))
    if getattr(codes, "shape", None) != (rows,):
        raise NotYet(f"gap 2: predict should give one code for each of {rows} flowers, and gives {_looks(codes)}.")
    if codes.dtype != np.int8:
        raise NotYet(f"gap 2: predict gives {codes.dtype}; the contract wants int8, an eighth of the memory of int64.")
    if (codes == truth.argmax(axis=1)).all():
        raise NotYet("gap 2: predict names the species that is farthest away.")
    if (codes != truth.argmin(axis=1)).any():
        raise NotYet("gap 2: predict does not name the nearest species. Are the distances those to each average?")
    shares = _hinted(2, "predict_proba", lambda: adapter.predict_proba(model, table))
    if getattr(shares, "shape", None) != (rows, 3):
        raise NotYet(f"gap 2: predict_proba should give an array of ({rows}, 3), and gives {_looks(shares)}.")
    if shares.dtype != np.float32:
        raise NotYet(f"gap 2: predict_proba gives {shares.dtype}; the contract wants float32.")
    if (shares < 0).any() or not np.allclose(shares.sum(axis=1), 1, atol=1e-5):
        raise NotYet("gap 2: the probabilities of a flower have to be positive, and to sum to 1: over axis 1.")
    if (shares.argmax(axis=1) != codes).any():
        raise NotYet(
            "gap 2: the largest probability is not where predict says. Near should be probable: mind the sign."
        )
    one = _hinted(2, "predict_one", lambda: adapter.predict_one(model, table.features[60].copy()))
    if not isinstance(one, int):
        raise NotYet(f"gap 2: predict_one gives {_looks(one)}; a web page wants a plain int.")
    if one != codes[60]:
        raise NotYet(f"gap 2: predict_one says {one} where predict says {codes[60]} of the same flower.")


def _kept(adapter: Any, model: np.ndarray, folder: Path, table: streaming.InMemory[Any]) -> None:
    here = set(Path().iterdir())
    _hinted(3, "save", lambda: adapter.save(model, folder))
    if strays := set(Path().iterdir()) - here:
        raise NotYet(f"gap 3: save wrote {min(strays).name} beside the notebook; it has to write into `folder`.")
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise NotYet("gap 3: save wrote nothing into `folder`.")
    if any(path.read_bytes()[:1] == b"\x80" for path in files):
        raise NotYet("gap 3: this is a pickle, which runs code when it is read. Take JSON, or .npy without pickle.")
    again = _hinted(3, "restore", lambda: adapter.restore(folder))
    if not isinstance(again, np.ndarray):
        raise NotYet(f"gap 3: restore gives {_looks(again)}, and train gave an array.")
    if again.shape != model.shape:
        raise NotYet(f"gap 3: restore gives the shape {again.shape}, and the model had {model.shape}.")
    if again.dtype != model.dtype:
        raise NotYet(
            f"gap 3: restore gives {again.dtype}, and the model was {model.dtype}: it would predict otherwise."
        )
    if not np.array_equal(again, model):
        raise NotYet("gap 3: the numbers are not the same to the last digit. Were they rounded on the way?")


def _looks(value: Any) -> str:
    return f"{type(value).__name__} of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"


def contract(file: Path | str) -> None:
    """Run the contract tests on the student's adapter, and show what pytest says."""
    options = ("-q", "-x", "--no-header", "--color=no", "--tb=short")
    _run("pytest", *options, "tests/contract.py", "--adapter", _from_root(file))


def benchmark(file: Path | str, *names: str) -> None:
    """Measure the student's adapter beside others in a small run, and print the path of its report."""
    chosen = [word for name in names for word in ("--framework", name)]
    size = ("--model", "logistic", "--rows", "150", "--rows", "10_000", "--launches", "1")
    _run("benchmarks", "run", "--adapter", _from_root(file), *chosen, *size)


def _from_root(file: Path | str) -> str:
    return str(Path(file).resolve().relative_to(ROOT))


def _run(*words: str) -> None:
    """Run `python -m WORDS` from the root, as in a terminal, and show the command and what it prints."""
    print(f"$ {shlex.join(['python', '-m', *words])}", flush=True)
    # Jupyter asks for colours, and rich then takes a notebook for a terminal whose lines can be drawn again.
    environment = {name: value for name, value in os.environ.items() if "FORCE_COLOR" not in name}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": path, "COLUMNS": "110"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert command.stdout
    for line in command.stdout:
        print(line, end="")
    if command.wait():
        raise NotYet(f"{words[0]} ended with code {command.returncode}; what it wants stands above.")
