"""Find the system's Java, on which H2O and Spark run, and the options for it. It must be version 17 or newer."""

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
    "or set JAVA_HOME to an installation"
)

FIRST_HEAP_BYTES = 300 << 20
"""Initial heap for constant memory. It is enough for the garbage of a piece of predictions."""


@cache
def executable() -> str | None:
    """Return the path of java from JAVA_HOME or PATH, or None."""
    if home := os.environ.get("JAVA_HOME"):
        named = Path(home) / "bin" / "java"
        return str(named) if named.exists() else None
    return shutil.which("java")


@cache
def version() -> str | None:
    """Return the version of Java, such as "17.0.15", or None if no Java runs."""
    if not (java := executable()):
        return None
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "([^"]+)"', answer.stderr)
    return match[1] if match else None


@cache
def missing(module: str | None = None) -> str | None:
    """Return the reason why Java cannot be used, or None. It may be missing, too old or without the module `module`."""
    installed = version()
    if installed is None:
        return f"Java is not installed. {INSTALL}"
    if int(re.split(r"\D", installed)[0] or 0) < OLDEST:
        return f"Java {installed} is too old; version {OLDEST} or newer is needed. {INSTALL}"
    if module:
        listed = subprocess.run(
            [str(executable()), "--list-modules"], capture_output=True, text=True, check=False
        ).stdout
        if f"{module}@" not in listed:
            return f"Java {installed} lacks the module {module}. {INSTALL}"
    return None


def heap_bytes(memory_bytes: int) -> int:
    """Return the size of the heap. The rest of the memory is for the JVM itself and for Python."""
    return memory_bytes * 3 // 4


def options(resources: Resources) -> list[str]:
    """Return options for every JVM: its number of cores, an exit when its heap is exhausted, and no files in /tmp."""
    return [
        f"-XX:ActiveProcessorCount={resources.threads}",
        "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={resources.folder.resolve()}",
        "-XX:-UsePerfData",  # would write a file to /tmp in spite of the line above
        *(_constant_memory(resources) if resources.constant_memory else []),
    ]


def _constant_memory(resources: Resources) -> list[str]:
    """Return options for a heap of one size that grows only when live objects need it, and for a small code cache.

    G1, the default collector, would use more and more of the heap before it collects garbage. Java compiles more and
    more of Spark for minutes. A small cache drops unused code and costs no time. Without the limit of nodes, one large
    method takes 45 MiB to compile, after three minutes.
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
    """Return the start of a command that runs Java within the limits of `resources`."""
    return [str(executable()), f"-Xmx{heap_bytes(resources.memory_bytes)}", *options(resources)]
