"""A tree of processes seen from outside: how much memory and CPU it takes, and how it is ended whole."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from dataclasses import dataclass

import psutil

ADOPTS = sys.platform == "linux"
"""Whether the system can make orphans children of a process that asks for them."""

GRACE_S = 0.7
"""Time between TERM and KILL: with the look-around before and after, a tree is gone within 2 s."""


@dataclass(frozen=True)
class Sample:
    """What a tree took at one moment: resident memory now, CPU seconds since its start."""

    time: float
    memory_bytes: int
    cpu_seconds: float


def adopt_orphans() -> None:
    """Has processes whose parent died become children of this one, where the system can: none gets lost."""
    if ADOPTS:
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


class Tree:
    """A process and all that descend from it, those included that it has left behind."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._members: dict[psutil.Process, float] = {self._root: 0.0}

    def _look(self) -> None:
        """Takes in the members that are new. Whoever was seen once stays a member, also when its parent is gone."""
        # Where orphans are adopted, all are our descendants. Elsewhere those of a dead member are found through it.
        ancestors = [psutil.Process(), *([] if ADOPTS else self._members)]
        for ancestor in ancestors:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in ancestor.children(recursive=True):
                    if child.create_time() >= self._root.create_time():
                        self._members.setdefault(child, 0.0)

    def sample(self, time: float) -> Sample:
        """Memory and CPU of the tree. CPU seconds of members that have ended stay counted as last seen."""
        self._look()
        memory_bytes = 0
        for member in self._members:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), member.oneshot():
                cpu = member.cpu_times()
                self._members[member] = cpu.user + cpu.system
                memory_bytes += member.memory_info().rss
        return Sample(time, memory_bytes, sum(self._members.values()))

    def end(self) -> None:
        """Ends every member: TERM first, KILL to those that do not heed it. Returns when none is left."""
        for signal_all in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
            self._look()
            alive = [member for member in self._members if member.is_running()]
            for member in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    signal_all(member)
            if not psutil.wait_procs(alive, timeout=GRACE_S)[1]:
                self._look()
                if not any(member.is_running() for member in self._members):
                    return
