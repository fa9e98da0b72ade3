"""Small real data, and the frameworks that are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters import registry
from datasets import store, synthetic
from datasets.synthetic import Stream
from errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]


def missing(framework: str) -> str | None:
    """Why a framework cannot be tested here. In CI only a GPU may be missing: anything else fails, and is no skip."""
    row = registry.FRAMEWORKS[framework]
    reason = row.missing()
    if reason and os.environ.get("CI") and row.device == "cpu":
        pytest.fail(f"{framework} has to be there in CI, but {reason}")
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
    """Add the plug-ins that --adapter names, each of which has to run here."""
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


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data cache of the tests' own; what the tests start inherits it."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["IRISBENCH_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def flowers_10_000(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 training rows in two part files, the smaller one first."""
    folder = tmp_path_factory.mktemp("train")
    features, species = synthetic.chunk(1, Stream.TRAIN, 0)
    store.write(folder / "part-00000.parquet", features[:1_000], species[:1_000])
    store.write(folder / "part-00001.parquet", features[1_000:10_000], species[1_000:10_000])
    return folder


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, or the one that Playwright has brought. In CI one must be there."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Exception as error:
            if "CI" in os.environ:
                raise
            pytest.skip(f"no Chromium here, install it (apt-get install chromium): {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs `python -m NAME ...` from the root, as a user would, and returns what it said."""

    def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line that bad input was answered with; fails when the answer was anything but one line and exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr
