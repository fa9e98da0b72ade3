"""After Ctrl-C, SIGTERM, SIGHUP, a full disk or a closed pipe, a command prints at most one line and leaves no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing

IRIS = ROOT / "datasets" / "iris.csv"

COMMAND = """
import os, signal, sys, typer
import commandline, interrupts
app = typer.Typer()

@app.command()
def work():
    try:
        {body}
    finally:
        os.kill(os.getpid(), {number})  # a second signal, while the first one is handled
        print("cleaned up")

commandline.main(app, "work")
"""
KILL = "os.kill(os.getpid(), {number}); signal.pause()"
HELD = "with interrupts.uninterrupted(): os.kill(os.getpid(), {number}); print('completed')"
SWALLOWED = """
        class Kill:
            def __del__(self): os.kill(os.getpid(), {number})
        Kill()
        signal.pause()
        signal.pause()"""
TURNED_INTO_ERROR = """
        try: os.kill(os.getpid(), {number})
        finally: raise ImportError("from a library that hides the interruption") from None"""


def run(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **({"stdout": subprocess.PIPE} | options),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("body", [KILL, HELD, SWALLOWED, TURNED_INTO_ERROR])
def test_a_signal_ends_a_command_and_its_clean_up_completes(number: signal.Signals, body: str) -> None:
    done = run(COMMAND.format(body=body.format(number=int(number)), number=int(number)))
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert done.stdout == ("completed\n" if body is HELD else "") + "cleaned up\n"


def test_an_ignored_signal_stays_ignored() -> None:
    code = COMMAND.format(body="os.kill(os.getpid(), signal.SIGHUP)", number=int(signal.SIGHUP))
    done = run("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + code)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "cleaned up\n")


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("raise OSError(28, 'No space left on device', '/tmp/x')", 1, "error: /tmp/x: No space left on device\n"),
        ("raise OSError(28, 'No space left on device')", 1, "error: No space left on device\n"),
        ("raise OSError('an error without a number')", 1, "error: an error without a number\n"),
        ("raise PermissionError(13, 'Permission denied', '/x')", 2, "error: /x: Permission denied\n"),
        ("raise BrokenPipeError(32, 'Broken pipe')", 1, ""),
    ],
)
def test_an_error_of_the_system_gives_one_line(body: str, code: int, stderr: str) -> None:
    command = COMMAND.replace("os.kill(os.getpid(), {number})", "").format(body=body, number=0)
    done = run(command)
    assert (done.returncode, done.stderr) == (code, stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_at_standard_output_gives_one_line() -> None:
    command = COMMAND.replace("os.kill(os.getpid(), {number})", "").format(body="pass", number=0)
    with open("/dev/full", "w") as full:
        done = run(command, stdout=full)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_a_file_does_not_get_the_descriptor_of_a_closed_standard_output(tmp_path: Path) -> None:
    body = f"print(open({str(tmp_path / 'results')!r}, 'w').fileno() > 2, file=sys.stderr)"
    command = COMMAND.replace("os.kill(os.getpid(), {number})", "").format(body=body, number=0)
    done = run(f"import os; os.close(1)\n{command}")
    assert done.stderr.splitlines()[0] == "True"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("framework", ["baseline", "scikit-learn"])
def test_an_interrupted_training_leaves_no_file(tmp_path: Path, framework: str, number: signal.Signals) -> None:
    interrupt(tmp_path, framework, number)


@pytest.mark.parametrize("framework", ["h2o", "spark"])
def test_ctrl_c_in_the_terminal_ends_a_jvm_without_output(tmp_path: Path, framework: str) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    interrupt(tmp_path, framework, signal.SIGINT)


def interrupt(folder: Path, framework: str, number: signal.Signals) -> None:
    """Send a signal twice to the process group of a training, as a terminal does, when it has temporary files."""
    temporary = folder / "temporary"
    temporary.mkdir()
    (folder / "output").mkdir()
    words = ["--framework", framework, "--model", "mlp", "--data", str(IRIS), "--output", str(folder / "output" / "m")]
    with subprocess.Popen(
        [sys.executable, "-m", "adapters", "train", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        log = {"h2o": "*/h2o.log", "spark": "*/spark.log"}.get(framework, "*")
        while not any(temporary.glob(log)):
            assert process.poll() is None
            time.sleep(0.001)  # a training of the baseline is short
        os.killpg(process.pid, number)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (128 + number, "")
    assert list(temporary.iterdir()) == list((folder / "output").iterdir()) == []
