"""Setup on a fresh machine: ./nox, the documents that name it, systems that provide few facts, native Windows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

import machine
from benchmarks.results import detect_environment
from benchmarks.supervision import process_tree
from tests.conftest import ROOT

SHELL = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
WHEEL = {
    "nox.py": "import sys\ndef main():\n    print('nox', *sys.argv[1:])\n",
    "nox-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: nox\nVersion: 1\nProvides-Extra: uv\n",
    "nox-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "nox-1.dist-info/entry_points.txt": "[console_scripts]\nnox = nox:main\n",
    "nox-1.dist-info/RECORD": "nox.py,,\nnox-1.dist-info/METADATA,,\nnox-1.dist-info/WHEEL,,\n"
    "nox-1.dist-info/entry_points.txt,,\nnox-1.dist-info/RECORD,,\n",
}
"""A package with nox's name and command, so that ./nox installs it without a network."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with a space in its name, with ./nox and a `python3` that runs the Python of these tests."""
    folder = tmp_path / "a clone"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" "$@"\n')
    (folder / "bin" / "python3").chmod(0o755)
    shutil.copy(ROOT / "nox", folder)
    (folder / "noxfile.py").touch()
    (folder / "constraints.txt").touch()
    with zipfile.ZipFile(folder / "nox-1-py3-none-any.whl", "w") as wheel:
        for name, text in WHEEL.items():
            wheel.writestr(name, text)
    return folder


def start(clone: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = SHELL | {"PATH": f"{clone / 'bin'}:{SHELL['PATH']}", "PIP_FIND_LINKS": clone.as_uri()}
    return subprocess.Popen(
        [clone / "nox", *arguments],
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_two_first_calls_at_once_install_nox_once_and_repair_an_interrupted_installation(clone: Path) -> None:
    interrupted = start(clone)
    assert interrupted.stderr and interrupted.stderr.readline().startswith("Installing nox")
    while not (clone / ".nox" / ".venv" / "pyvenv.cfg").exists():
        assert interrupted.poll() is None
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.communicate()
    first, second = start(clone, "-s", "tests", "--", "a b"), start(clone, "-s", "lint")
    outputs = [process.communicate(timeout=300) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert [output for output, _ in outputs] == ["nox -s tests -- a b\n", "nox -s lint\n"]
    assert sum(errors.count("Installing nox") for _, errors in outputs) == 1
    moved = clone.rename(clone.with_name("moved clone"))
    assert start(moved, "--list").communicate(timeout=300)[0] == "nox --list\n"


@pytest.mark.parametrize(
    ("python", "line"),
    [
        ("case $1 in --version) echo Python 3.14.1;; *) exit 1;; esac", "error: Python 3.11, 3.12 or 3.13 is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "error: Python's venv module is missing; on Debian"),
    ],
)
def test_an_unsuitable_python_is_refused_in_one_line(clone: Path, python: str, line: str) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (clone / "bin" / name).write_text(f"#!/bin/sh\n{python}\nexit 0\n")
        (clone / "bin" / name).chmod(0o755)
    process = start(clone, "-s", "tests")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.count("\n")) == (2, "", 1), errors
    assert errors.startswith(line)


def test_all_documents_use_the_same_commands() -> None:
    names = ("README.md", "CONTRIBUTING.md", "Dockerfile", ".devcontainer/devcontainer.json", "workshop/README.md")
    documents = [
        *(ROOT / name for name in (*names, ".ci/run", ".pre-commit-config.yaml", "windows.py", "noxfile.py")),
        *(ROOT / "workshop").rglob("*.ipynb"),
        *(ROOT / "reports" / "templates").iterdir(),
        *(path for name in ("adapters", "benchmarks", "reports", "workshop") for path in (ROOT / name).rglob("*.py")),
    ]
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    for document in documents:
        text = document.read_text()
        assert not re.search(r"(?<!uv )pip install|-m nox|(?<!\./)\bnox -s", text), f"{document} does not use ./nox"
        assert set(re.findall(r"\./nox -s ([a-z]+)", text)) <= sessions, document
    for name in ("README.md", "workshop/README.md", "Dockerfile", "windows.py"):
        assert "git python3-venv openjdk-17-jre-headless" in (ROOT / name).read_text(), name
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    for command in (
        container["postCreateCommand"],
        *re.findall(r"^RUN (\./.*)", (ROOT / "Dockerfile").read_text(), re.M),
    ):
        assert f"\n{command.removesuffix(' --install-only')}\n" in (ROOT / "README.md").read_text(), command


@pytest.mark.parametrize("package", ["adapters", "benchmarks", "datasets", "reports", "workshop", "noxfile"])
def test_native_windows_gets_one_line_before_any_other_import(package: str) -> None:
    script = (
        "import sys, runpy\n"
        "sys.platform = 'win32'\n"
        "for name in ('typer', 'numpy', 'fcntl', 'rich', 'jupytext', 'commandline'): sys.modules[name] = None\n"
        "class nox: __getattr__ = None\n"
        "sys.modules['nox'] = nox\n"
        f"runpy.run_path('noxfile.py') if '{package}' == 'noxfile' else "
        f"runpy.run_module('{package}', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    for command in ("wsl --install", "sudo apt-get install git", "./nox -s benchmark"):
        assert command in done.stderr


def test_a_run_succeeds_on_a_system_that_provides_no_facts(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can mount over /sys and /proc; run the tests as root on Linux")
    hide = (
        "mount -t tmpfs tmpfs /sys && for f in loadavg meminfo vmstat cpuinfo stat; do mount --bind $0 /proc/$f; done"
    )
    run = [sys.executable, "-m", "benchmarks", "run", "--framework", "baseline", "--model", "logistic"]
    run += ["--rows", "150", "--launches", "1", "--output", str(tmp_path / "run")]
    hidden = ["unshare", "--mount", "sh", "-c", f'{hide} && exec "$@"', os.devnull]
    if subprocess.run([*hidden, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces cannot be created here")
    done = subprocess.run([*hidden, *run], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = map(json.loads, (tmp_path / "run" / "records.jsonl").read_text().splitlines())
    assert record["outcome"] == "ok" and record["memory"]
    described = json.loads((tmp_path / "run" / "environment.json").read_text())["machine"]
    # py-cpuinfo can still name the processor, because it asks the processor itself.
    assert [described[name] for name in ("governor", "power")] == [None] * 2
    assert record["phases"]["train"]["others_share"] is None
    assert "| governor | unknown |" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "no"), PermissionError(13, "no"), ValueError(), KeyError("x"), AttributeError()]
)
def test_a_fact_whose_probe_fails_is_unknown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    for name in ("sensors_battery", "virtual_memory"):
        monkeypatch.setattr(psutil, name, fail, raising=False)
    for name in ("getloadavg", "sched_getaffinity", "sched_setaffinity", "sysconf"):
        monkeypatch.setattr(os, name, fail, raising=False)
    monkeypatch.setattr(Path, "glob", fail)
    machine.pin(1)
    facts = detect_environment.machine()
    assert (facts.power, facts.governor, facts.load_average, facts.memory_bytes) == (None,) * 4
    assert detect_environment.disturbances() == []
    assert machine.usable_cores() >= 1
    assert detect_environment.default_memory_limit() > 0


@pytest.mark.parametrize("answer", [psutil.AccessDenied(1), ValueError("no smaps"), 0], ids=repr)
def test_memory_counts_in_full_if_its_shared_part_is_unknown(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    class Full:
        rss, pss = 1 << 40, 0

    def full(_: object) -> Full:
        if isinstance(answer, Exception):
            raise answer
        return Full()

    monkeypatch.setattr(psutil.Process, "memory_full_info", full)
    monkeypatch.setattr(process_tree, "TELLS_SHARED", True)
    member = process_tree.Member(psutil.Process())
    member.sample_memory()
    assert member.memory_bytes > 1 << 20


def test_a_user_with_a_read_only_home_is_told_to_name_a_data_folder(tmp_path: Path) -> None:
    # In a user namespace root becomes an ordinary user, who cannot write to the home folder.
    ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    if ordinary and (
        not shutil.which("unshare") or subprocess.run([*ordinary, "true"], capture_output=True).returncode
    ):
        pytest.skip("user namespaces cannot be created here; run the tests as an ordinary user")
    (tmp_path / "home").mkdir(0o555)

    def run(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks", "run", "--framework", "baseline", "--model", "logistic"]
        return subprocess.run(
            [*ordinary, *command, "--rows", "150", "--launches", "1", "--output", str(tmp_path / name)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = run("refused")
    lines = [line for line in refused.stderr.splitlines() if not line.startswith("warning: ")]
    assert refused.returncode == 2 and len(lines) == 1, refused.stderr
    assert str(tmp_path / "home") in lines[0] and "set IRISBENCH_DATA to a folder that you can write to" in lines[0]
    done = run("done", IRISBENCH_DATA=str(tmp_path / "data"))
    assert done.returncode == 0, done.stdout + done.stderr
