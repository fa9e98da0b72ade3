"""Start processes that exit with their parent process, even if the parent is killed by signal 9.

python -m adapters.exit_with_parent MODULE [ARGUMENT]...    run a module whose standard input is a pipe of the parent
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from machine import ROOT

KERNEL_KILLS = sys.platform == "linux"
"""Whether the kernel can kill a child when its parent dies."""

SHELL = 'exec 3<&0; "$@" & child=$!; (read _ <&3; kill -9 $child) & wait $child; kill $! 2>/dev/null'
"""Shell script that starts a command and kills it when standard input closes. For other kernels, such as macOS."""

_prctl = ctypes.CDLL(None).prctl if KERNEL_KILLS else None  # loaded here, because a forked child must not load anything
_PR_SET_PDEATHSIG = 1


def preexec() -> Callable[[], None] | None:
    """Return a `preexec_fn` for Popen with which the kernel kills the child when this process dies.

    Return None if the kernel cannot do this. Linux sends the signal when the thread that started the child ends. Only
    the main thread lives as long as its process, so other threads get None, too.
    """
    if not KERNEL_KILLS or threading.current_thread() is not threading.main_thread():
        return None
    parent = os.getpid()

    def kill_with_parent() -> None:
        assert _prctl
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call above
            os.kill(os.getpid(), signal.SIGKILL)

    return kill_with_parent


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command that is killed when this process ends. It has no standard input; `options` go to Popen."""
    if bind := preexec():
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=bind, **options)
    return subprocess.Popen(["sh", "-c", SHELL, "sh", *command], stdin=subprocess.PIPE, **options)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command that `start` started, and wait until it has exited."""
    if process.stdin:  # a shell, which kills its child when its input closes
        process.stdin.close()
    else:
        process.kill()
    process.wait()


def watch_input() -> None:
    """Exit when standard input closes. It is a pipe without data that closes when the parent dies."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def run(module: str, arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE`, and kill it if this process ends before it. `options` go to Popen."""
    process = subprocess.Popen(
        [sys.executable, "-m", "adapters.exit_with_parent", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        text=True,
        preexec_fn=preexec(),
        **options,
    )
    try:
        # `communicate` would close the pipe at once.
        outputs = [stream.read() if stream else None for stream in (process.stdout, process.stderr)]
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
    return subprocess.CompletedProcess(process.args, process.returncode, *outputs)


if __name__ == "__main__":
    watch_input()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
