"""A tree of processes seen from outside: how much memory and CPU it takes, and how it is ended whole."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

from machine import probe

ADOPTS = sys.platform == "linux"
"""Whether the system can make orphans children of a process that asks for them."""

TELLS_SHARED = Path("/proc/self/smaps_rollup").exists()
"""Whether the system can say how much of a process's memory others have, too."""

GRACE_S = 0.7
"""Time between TERM and KILL: with the look-around before and after, a tree is gone within 2 s."""

LOOK_SHARE = 0.005
"""The share of one core that a costly look may take: each member's shared pages, and the search for new members."""

Seen = TypeVar("Seen")


class Rationed:
    """Takes a costly look only as often as all the looks together cost a small share of the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, look: Callable[[], Seen]) -> Seen | None:
        """What `look` saw, or None where it is too early for another."""
        began = time.monotonic()
        if began < self._next:
            return None
        seen = look()
        ended = time.monotonic()
        self._next = ended + (ended - began) / LOOK_SHARE
        return seen


@dataclass(frozen=True)
class Sample:
    """What a tree took at one moment: memory now, CPU seconds since its start. The `jvm_` values are Java's part."""

    time: float
    memory_bytes: int
    cpu_seconds: float
    jvm_memory_bytes: int = 0
    jvm_cpu_seconds: float = 0.0
    gpu_memory_bytes: int = 0


@dataclass
class Member:
    """A process of a tree, as it was last seen. Of its memory, `shared_bytes` are counted with somebody else."""

    process: psutil.Process
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    shared_bytes: int = 0
    is_jvm: bool = False
    look: Rationed = field(default_factory=Rationed)

    def sample(self) -> None:
        """Proportional set size: resident memory, of which each process of those that share a page counts its part.

        That is dear to ask for a large process. So what is shared is looked at now and then, and the rest each time.
        """
        self.memory_bytes = 0
        with contextlib.suppress(psutil.Error, OSError, ValueError), self.process.oneshot():
            cpu = self.process.cpu_times()
            self.cpu_seconds = cpu.user + cpu.system
            self.is_jvm = self.process.name() == "java"
            resident = self.process.memory_info().rss
            # Where the system refuses the proportional size, or says 0, every page counts in full.
            if TELLS_SHARED and (full := self.look(lambda: probe(self.process.memory_full_info))) and full.pss:
                self.shared_bytes = max(full.rss - full.pss, 0)
            self.memory_bytes = max(resident - self.shared_bytes, 0)


class Gpu:
    """Memory in use on all NVIDIA GPUs, beyond what others held before. Only one case runs at a time, so it is its."""

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._info = pynvml.nvmlDeviceGetMemoryInfo
        self._devices = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        self._before = self._used()

    def _used(self) -> int:
        return sum(int(self._info(device).used) for device in self._devices)

    def memory_bytes(self) -> int:
        return max(self._used() - self._before, 0)


def adopt_orphans() -> None:
    """Has processes whose parent died become children of this one, where the system can: none gets lost."""
    if ADOPTS:
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


class Tree:
    """A process and all that descend from it, those included that it has left behind."""

    def __init__(self, pid: int, gpu: Gpu | None = None) -> None:
        self._root = psutil.Process(pid)
        self._gpu = gpu
        self._members = {self._root: Member(self._root)}
        self._rationed = Rationed()

    def _look(self) -> None:
        """Takes in the members that are new. Whoever was seen once stays a member, also when its parent is gone."""
        # Where orphans are adopted, all are our descendants. Elsewhere those of a dead member are found through it.
        ancestors = [psutil.Process(), *([] if ADOPTS else self._members)]
        for ancestor in ancestors:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in _descendants(ancestor):
                    if child not in self._members and not _older(child, self._root):
                        self._members[child] = Member(child)

    def sample(self, time: float) -> Sample:
        """Memory and CPU of the tree. CPU seconds of members that have ended stay counted as last seen."""
        self._rationed(self._look)
        members = self._members.values()
        for member in members:
            member.sample()
        jvms = [member for member in members if member.is_jvm]
        return Sample(
            time,
            sum(member.memory_bytes for member in members),
            sum(member.cpu_seconds for member in members),
            sum(member.memory_bytes for member in jvms),
            sum(member.cpu_seconds for member in jvms),
            self._gpu.memory_bytes() if self._gpu else 0,
        )

    def end(self) -> None:
        """Ends every member: TERM first, KILL to those that do not heed it. Returns when none is left."""
        for signal_all in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
            self._look()
            alive = [process for process in self._members if process.is_running()]
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    signal_all(process)
            if not psutil.wait_procs(alive, timeout=GRACE_S)[1]:
                self._look()
                if not any(process.is_running() for process in self._members):
                    return


def _descendants(ancestor: psutil.Process) -> list[psutil.Process]:
    """Return the processes below `ancestor`; psutil.NoSuchProcess if it is gone."""
    try:
        return ancestor.children(recursive=True)
    except (OSError, RuntimeError, ValueError):
        # psutil compares start times, and without /proc/stat it knows none. Parents have been started before children.
        found, pids = [], {ancestor.pid}
        for process in psutil.process_iter():
            if probe(process.ppid) in pids:
                pids.add(process.pid)
                found.append(process)
        return found


def _older(process: psutil.Process, root: psutil.Process) -> bool:
    """Return whether `process` started before `root`; False where the system does not say when."""
    return probe(lambda: process.create_time() < root.create_time()) or False
