"""Processes that exit with their parent process, by the kernel's means and by the shell's."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from adapters import exit_with_parent
from tests.conftest import ROOT

PARENT = """
import sys
from adapters import exit_with_parent
exit_with_parent.KERNEL_KILLS = exit_with_parent.KERNEL_KILLS and sys.argv[1] == "kernel"
child = exit_with_parent.start(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
exit_with_parent.end(child)
"""


@pytest.fixture(params=["kernel", "shell"])
def parent(request: pytest.FixtureRequest):
    """Yield a process that has started `sleep`, and its descendants."""
    if request.param == "kernel" and not exit_with_parent.KERNEL_KILLS:
        pytest.skip("this kernel does not kill a child with its parent")
    boss = subprocess.Popen(
        [sys.executable, "-c", PARENT, request.param], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child = psutil.Process(int(boss.stdout.readline()))
    family = [child, *child.children(recursive=True)]
    while not any(process.name() == "sleep" for process in family):
        family = [child, *child.children(recursive=True)]
    assert (len(family) == 1) is (request.param == "kernel")
    yield boss, family
    boss.kill()
    boss.wait()
    boss.stdin.close()
    boss.stdout.close()
    for process in family:
        if process.is_running():
            process.kill()


def test_a_child_is_killed_with_its_parent(parent) -> None:
    boss, family = parent
    boss.kill()
    boss.wait()
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_ending_a_child_leaves_nothing_even_if_its_first_process_was_killed(parent) -> None:
    boss, family = parent
    family[0].kill()
    boss.stdin.close()
    assert boss.wait(timeout=10) == 0
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_module_ends_with_a_parent_even_while_it_holds_the_interpreter() -> None:
    if not exit_with_parent.KERNEL_KILLS:
        pytest.skip("this kernel does not kill a child with its parent")
    busy = "import ctypes, os; print(os.getpid(), flush=True); ctypes.PyDLL(None).sleep(600)"
    script = (
        "import subprocess, sys\nfrom adapters import exit_with_parent\n"
        f"subprocess.run([sys.executable, '-c', {busy!r}], preexec_fn=exit_with_parent.preexec())"
    )
    boss = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert boss.stdout
    child = psutil.Process(int(boss.stdout.readline()))
    boss.kill()
    boss.wait()
    boss.stdout.close()
    assert psutil.wait_procs([child], timeout=10)[1] == []
