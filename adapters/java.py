"""The Java that H2O and Spark run on: it comes from the system, and must be 17 or newer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from adapters.base import Resources

OLDEST = 17
INSTALL = (
    "Install it: apt-get install openjdk-17-jre-headless (Debian, Ubuntu), brew install openjdk@17 (macOS); "
    "or point JAVA_HOME at one"
)


FIRST_HEAP_BYTES = 300 << 20
"""Enough for the garbage between two pieces of predictions, whatever the memory that a user allows."""


@cache
def executable() -> str | None:
    """The java that JAVA_HOME names, else the one on the PATH."""
    if home := os.environ.get("JAVA_HOME"):
        named = Path(home) / "bin" / "java"
        return str(named) if named.exists() else None
    return shutil.which("java")


@cache
def version() -> str | None:
    """Java's version as it states it ("17.0.15"), or None where there is no Java that runs."""
    if not (java := executable()):
        return None
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "([^"]+)"', answer.stderr)
    return found[1] if found else None


@cache
def missing(module: str | None = None) -> str | None:
    """None, or the reason why there is no Java to use: none at all, too old, or without the module `module`."""
    found = version()
    if found is None:
        return f"there is no Java. {INSTALL}"
    if int(re.match(r"\d+", found)[0]) < OLDEST:  # type: ignore[index]
        return f"Java is {found}, and {OLDEST} is the oldest that serves. {INSTALL}"
    if module:
        listed = subprocess.run(
            [str(executable()), "--list-modules"], capture_output=True, text=True, check=False
        ).stdout
        if f"{module}@" not in listed:
            return f"this Java {found} is a trimmed one without the module {module}. {INSTALL}"
    return None


def heap_bytes(memory_bytes: int) -> int:
    """How much of the memory the heap may take; the rest is for the JVM itself and for Python."""
    return memory_bytes * 3 // 4


def options(resources: Resources) -> list[str]:
    """What every JVM of ours is told: how many cores, to end when its heap is exhausted, to leave nothing in /tmp."""
    return [
        f"-XX:ActiveProcessorCount={resources.threads}",
        "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={resources.folder.resolve()}",
        "-XX:-UsePerfData",  # a file of each JVM, in /tmp whatever the line above says
        *(_constant_memory(resources) if resources.constant_memory else []),
    ]


def _constant_memory(resources: Resources) -> list[str]:
    """Return options for a heap of one size, which grows only when live objects need it, and for a small code cache.

    G1, the default collector, would take more and more of the heap before it collects the garbage. Spark compiles more
    and more of itself for minutes: a small cache drops what is not used, and costs no time. Without the limit of nodes,
    one large method takes 45 MiB to compile, after three minutes.
    """
    first_bytes = min(FIRST_HEAP_BYTES, heap_bytes(resources.memory_bytes))
    return [
        "-XX:+UseSerialGC",
        f"-Xms{first_bytes >> 20}m",
        "-XX:+AlwaysPreTouch",
        "-XX:ReservedCodeCacheSize=32m",
        "-XX:MaxNodeLimit=25000",
    ]


def command(resources: Resources) -> list[str]:
    """The start of a command line that runs Java within the resources."""
    return [str(executable()), f"-Xmx{heap_bytes(resources.memory_bytes)}", *options(resources)]
