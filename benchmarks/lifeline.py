"""Processes that live no longer than the one that started them, even if that one is killed by signal 9.

python -m benchmarks.lifeline MODULE [ARGUMENT]...    runs a module of ours so, with a pipe from its parent as input
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from benchmarks.environment import ROOT


def hold() -> None:
    """Has this process killed when its input ends: a pipe on which nobody writes, and which ends with our parent."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def run(module: str, arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE` to its end; `options` go to Popen. The module goes with us when we go."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.lifeline", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        # Not `communicate`, which would close the pipe at once.
        answers = [stream.read() if stream else None for stream in (process.stdout, process.stderr)]
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
    return subprocess.CompletedProcess(process.args, process.returncode, *answers)


if __name__ == "__main__":
    hold()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
