"""A tree of processes seen from outside: its memory and CPU time, the load of its cores, and its termination."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

from machine import probe, usable_cores

ADOPTS = sys.platform == "linux"
"""Whether the system lets a process become the parent of orphans."""

TELLS_SHARED = Path("/proc/self/smaps_rollup").exists()
"""Whether the system reports how much memory a process shares with others."""

PRESSURE = Path("/proc/pressure/cpu")
"""Linux's pressure stall information: how long any process has waited for a core."""

PROC_STAT = Path("/proc/stat")
TICKS_PER_SECOND = probe(lambda: os.sysconf("SC_CLK_TCK")) or 100

GRACE_S = 0.7
"""Seconds between TERM and KILL. With the searches before and after, a tree ends within 2 s."""

LOOK_SHARE = 0.005
"""Share of one core that expensive queries may use: the shared pages of each member, and the search for members."""

Seen = TypeVar("Seen")


class Rationed:
    """A limiter that gives an expensive query a small share of the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, query: Callable[[], Seen]) -> Seen | None:
        """Return the result of `query`, or None if it is too early to run it again."""
        began = time.monotonic()
        if began < self._next:
            return None
        seen = query()
        ended = time.monotonic()
        self._next = ended + (ended - began) / LOOK_SHARE
        return seen


@dataclass(frozen=True)
class Sample:
    """Resources of a tree at one moment: memory now, CPU seconds since its start. `jvm_` values are the part of Java.

    `busy_seconds` is the CPU time that all programs and the hypervisor have taken from the cores of the case.
    `supervisor_cpu_seconds` is the part of the supervisor, or 0 if it has cores of its own.
    `pressure_seconds` is the time in which any program waited for any core. `busy_seconds` and `pressure_seconds` count
    from boot.
    """

    time: float
    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    jvm_memory_bytes: int = 0
    jvm_cpu_seconds: float = 0.0
    gpu_memory_bytes: int = 0
    busy_seconds: float = 0.0
    supervisor_cpu_seconds: float = 0.0
    pressure_seconds: float = 0.0


@dataclass
class Member:
    """A process of a tree as last seen. `shared_bytes` is the part of its memory that is counted elsewhere."""

    process: psutil.Process
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    shared_bytes: int = 0
    is_jvm: bool = False
    query: Rationed = field(default_factory=Rationed)

    def sample_cpu(self) -> None:
        """Update the CPU time. An ended process keeps the time that was last seen."""
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            cpu = self.process.cpu_times()
            self.cpu_seconds = max(cpu.user + cpu.system, self.cpu_seconds)

    def sample_memory(self) -> None:
        """Update the proportional set size: a page that n processes share counts 1/n in each.

        The kernel needs long to compute that size for a large process. The shared part is therefore updated rarely,
        and the resident size each time.
        """
        self.memory_bytes = 0
        with contextlib.suppress(psutil.Error, OSError, ValueError), self.process.oneshot():
            self.is_jvm = self.process.name() == "java"
            resident = self.process.memory_info().rss
            # Every page counts in full if the system refuses the proportional size or returns 0.
            if TELLS_SHARED and (full := self.query(lambda: probe(self.process.memory_full_info))) and full.pss:
                self.shared_bytes = max(full.rss - full.pss, 0)
            self.memory_bytes = max(resident - self.shared_bytes, 0)


class Gpu:
    """Memory in use on all NVIDIA GPUs, minus the memory in use before. Only one case runs at a time."""

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
    """Become the parent of processes whose parent died, if the system supports it, so that none is lost."""
    if ADOPTS:
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def busy_seconds(cores: Sequence[int]) -> float | None:
    """Return the CPU seconds that these cores have worked since boot, including the steal time of a hypervisor.

    Return None if the system does not report one of them. psutil drops the numbers of the cores, which have gaps if a
    core is switched off.
    """
    lines = probe(lambda: PROC_STAT.read_text().splitlines()) or []
    ticks = {line.split()[0]: [int(value) for value in line.split()[1:9]] for line in lines if line.startswith("cpu")}
    busy = [ticks.get(f"cpu{core}") for core in cores]
    if None in busy:
        return None
    # The fields are user, nice, system, idle, iowait, irq, softirq and steal.
    return sum(sum(core) - core[3] - core[4] for core in busy if core) / TICKS_PER_SECOND


def pressure_seconds() -> float:
    """Return the seconds since boot in which a process waited for a core, or 0 if the kernel does not report it."""
    return (probe(lambda: int(PRESSURE.read_text().split("total=")[1].split()[0])) or 0) / 1e6


class Tree:
    """A process and all its descendants, including those whose parent has ended."""

    def __init__(self, pid: int, cores: Sequence[int] | None = None, gpu: Gpu | None = None) -> None:
        """`cores` are those to which the tree is bound, or None if the system does not bind it."""
        self._root = psutil.Process(pid)
        self._supervisor = psutil.Process()
        self._cores = cores
        self._gpu = gpu
        # With cores of its own, the supervisor hardly ever runs on those of the case.
        self._shares_cores = len(cores or ()) >= usable_cores()
        self._members = {self._root: Member(self._root)}
        self._rationed = Rationed()

    def _search(self) -> None:
        """Add new members. A process stays a member even after its parent has ended."""
        # Where orphans are adopted, all are descendants of this process. Elsewhere they are found through a member.
        ancestors = [self._supervisor, *([] if ADOPTS else self._members)]
        for ancestor in ancestors:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in _descendants(ancestor):
                    if child not in self._members and not _older(child, self._root):
                        self._members[child] = Member(child)

    def sample(self, moment: float) -> Sample:
        """Return the resources of the tree. Ended members keep the CPU seconds that were last seen."""
        self._rationed(self._search)
        members = self._members.values()
        for member in members:
            member.sample_cpu()
        # Right after the CPU times of the tree, because the work between the two looks like that of other programs.
        busy = busy_seconds(self._cores) if self._cores else None
        for member in members:
            member.sample_memory()
        jvms = [member for member in members if member.is_jvm]
        return Sample(
            moment,
            sum(member.memory_bytes for member in members),
            sum(member.cpu_seconds for member in members),
            sum(member.memory_bytes for member in jvms),
            sum(member.cpu_seconds for member in jvms),
            self._gpu.memory_bytes() if self._gpu else 0,
            busy or 0.0,
            time.process_time() if self._shares_cores else 0.0,
            pressure_seconds(),
        )

    def end(self) -> None:
        """End every member: TERM first, then KILL for those that ignore it. Return when none is left."""
        for signal_all in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
            self._search()
            alive = [process for process in self._members if process.is_running()]
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    signal_all(process)
            if not psutil.wait_procs(alive, timeout=GRACE_S)[1]:
                self._search()
                if not any(process.is_running() for process in self._members):
                    return


def _descendants(ancestor: psutil.Process) -> list[psutil.Process]:
    """Return the processes below `ancestor`. Raise psutil.NoSuchProcess if it has ended."""
    try:
        return ancestor.children(recursive=True)
    except (OSError, RuntimeError, ValueError):
        # psutil compares start times, which are unknown without /proc/stat. Parents start before their children.
        descendants, pids = [], {ancestor.pid}
        for process in psutil.process_iter():
            if probe(process.ppid) in pids:
                pids.add(process.pid)
                descendants.append(process)
        return descendants


def _older(process: psutil.Process, root: psutil.Process) -> bool:
    """Return whether `process` started before `root`, or False if that is unknown."""
    return probe(lambda: process.create_time() < root.create_time()) or False
