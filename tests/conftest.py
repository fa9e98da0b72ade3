"""Fixtures that many tests share: small real data, trained models, a browser, and the commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from adapters import registry
from datasets import store, synthetic
from datasets.synthetic import Stream
from errors import BadInput
from machine import ROOT

Command = Callable[..., subprocess.CompletedProcess[str]]
TrainedModel = Callable[..., Path]

IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
for variable in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
    del os.environ[variable]  # pytest-benchmark would measure nothing in the cases that the tests start


def missing(framework: str) -> str | None:
    """Return why a framework cannot be tested here. In CI, every CPU framework must be installed."""
    row = registry.FRAMEWORKS[framework]
    reason = row.missing()
    if reason and os.environ.get("CI") and row.device == "cpu":
        pytest.fail(f"{framework} must be installed in CI, but {reason}")
    return reason


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--adapter",
        metavar="FILE.py",
        action="append",
        default=[],
        help="with tests/contract.py: run it against this adapter file, or an installed framework of this name",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the plug-ins that --adapter names. Raise UsageError if one cannot run here."""
    try:
        for text in config.option.adapter:
            if text.endswith(".py"):
                name = registry.add(Path(text))
            else:
                name = text
                registry.add_installed()
            if name not in registry.FRAMEWORKS:
                raise BadInput(f"--adapter {name}: there is no such Python file, and no installed framework")
            if reason := registry.FRAMEWORKS[name].missing():
                raise BadInput(f"{name} is unavailable: {reason}")
            registry.FRAMEWORKS[name].create()
    except BadInput as error:
        raise pytest.UsageError(str(error)) from None


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder that all processes of this test run share, because pytest-xdist gives each its own."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if IN_WORKER else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data cache of the tests and of all processes that they start."""
    folder = shared_folder(tmp_path_factory, "cache")
    os.environ["IRISBENCH_DATA"] = str(folder)
    # With two test processes, busy-waiting threads take the cores from each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return folder


@pytest.fixture(scope="session")
def trained_model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """Return a function that gives the folder of a model trained on the 150 flowers. Copy it before you change it."""

    def train(framework: str, model: str = "logistic") -> Path:
        if reason := missing(framework):
            pytest.skip(reason)
        folder = shared_folder(tmp_path_factory, "trained") / f"{framework}-{model}"
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                options = ["--framework", framework, "--model", model, "--data", "datasets/iris.csv"]
                done = run_command("adapters", "train", *options, "--output", folder)
                assert done.returncode == 0, done.stderr
        return folder

    return train


@pytest.fixture(scope="session")
def flowers_10_000(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 10,000 training rows in two part files, the smaller one first."""
    folder = tmp_path_factory.mktemp("train")
    features, species = synthetic.chunk(1, Stream.TRAIN, 0)
    store.write(folder / "part-00000.parquet", features[:1_000], species[:1_000])
    store.write(folder / "part-00001.parquet", features[1_000:10_000], species[1_000:10_000])
    return folder


@pytest.fixture(scope="session")
def browser():
    """Start the system's Chromium, or Playwright's own. In CI, a missing browser is a failure."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except Exception as error:
            if "CI" in os.environ:
                raise
            pytest.skip(f"Chromium cannot start; install it (apt-get install chromium): {str(error).splitlines()[0]}")
        yield started
        started.close()


def run_command(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m NAME ...` from the root, as a user would, and return its output."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def command() -> Command:
    """Return the function `run_command`."""
    return run_command


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a command for bad input. Fail if it is not a single line with exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr
