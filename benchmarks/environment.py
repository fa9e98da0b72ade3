"""What stands behind the numbers of a run: the machine, the versions, the settings."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from adapters import java, registry
from benchmarks import adoption
from machine import ASSUMED_MEMORY, probe, total_memory, usable_cores

ROOT = Path(__file__).resolve().parent.parent
PROC, SYS = Path("/proc"), Path("/sys")
QUIET_LOAD = 0.5
"""Processes that were busy in the last minute, on average: above it, something else is at work."""
INSTRUCTIONS = {"avx512f": "AVX512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON"}
"""The processor's flags for working on many numbers at once, the widest first."""
PACKAGES = (
    *(
        "numpy",
        "scipy",
        "scikit-learn",
        "torch",
        "tensorflow",
        "keras",
        "h2o",
        "pyspark",
        "pyarrow",
        "pandas",
        "polars",
    ),
    *("pytest", "pytest-benchmark", "psutil"),
)


def memory_limit() -> int | None:
    """Return the memory limit of our control group (version 1 or 2) in bytes, or None where there is none."""
    groups = []
    for line in _lines(PROC / "self" / "cgroup"):
        if line.count(":") >= 2:
            _, controllers, group = line.split(":", 2)
            if not controllers:
                groups.append((SYS / "fs" / "cgroup", group, "memory.max"))
            elif "memory" in controllers.split(","):
                groups.append((SYS / "fs" / "cgroup" / "memory", group, "memory.limit_in_bytes"))
    limits = []
    for base, group, file in groups:
        # A group is held to the limits of those around it, too; in a container the outermost is all that is seen.
        inner = base / group.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(base):
                with suppress(OSError, ValueError):  # "max" where there is no limit
                    limits.append(int((folder / file).read_text()))
    least, total = min(limits, default=None), total_memory()
    return least if least is not None and (total is None or least < total) else None


def default_memory_limit() -> int:
    """Return three quarters of the memory that we may use, in bytes: a case that takes more slows the whole machine."""
    return (memory_limit() or total_memory() or ASSUMED_MEMORY) * 3 // 4


def governor() -> str | None:
    """How the system sets the clock of the cores ("performance", "powersave"); None where it does not say."""
    pattern = "cpu*/cpufreq/scaling_governor"
    files = probe(lambda: list((SYS / "devices" / "system" / "cpu").glob(pattern))) or []
    # The file of a core that is switched off cannot be read.
    return ", ".join(sorted({line.strip() for file in files for line in _lines(file)})) or None


def power() -> str | None:
    """What the machine runs on, "battery" or "mains"; None where it has no battery, or does not say."""
    battery = probe(lambda: psutil.sensors_battery())
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def load_average() -> float | None:
    """Return the load average of the last minute."""
    return probe(lambda: os.getloadavg()[0])


def disturbances() -> list[str]:
    """What will make times on this machine longer or less steady, each with what to do about it."""
    found = []
    if (load := load_average() or 0.0) > QUIET_LOAD:
        found.append(
            f"the load average is {load:.1f} before anything is measured: other programs take part of the cores, and "
            "times will be longer and less steady. End them, or wait for them, and run again."
        )
    if power() == "battery":
        found.append(
            "the machine runs on its battery, and may lower its clock to spare it: times will be longer, and longer "
            "still as it empties. Plug it in and run again."
        )
    if (clock := governor()) and clock != "performance":
        found.append(
            f"the CPU governor is {clock}, not performance: the clock follows the load, so that short phases run "
            "slower than long ones. Type: sudo cpupower frequency-set --governor performance"
        )
    return found


def machine() -> dict[str, Any]:
    """What times depend on and no setting of ours changes."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "instructions": _instructions(),
        "governor": governor(),
        "power": power(),
        "load_average": load_average(),
        "memory_bytes": total_memory(),
        "memory_limit_bytes": memory_limit(),
        "python": platform.python_version(),
    }


def describe(run: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "run": run,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "machine": machine(),
        "warnings": disturbances(),
        "java": java.version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))},
        "settings": settings,
        "frameworks": {name: _framework(name, row) for name, row in registry.FRAMEWORKS.items()},
    }


def _framework(name: str, row: registry.Framework) -> dict[str, Any]:
    style = {"style": row.plugin.style} if row.plugin and row.plugin.style else {}
    return {
        "version": row.version,
        "reason": row.missing(),
        "device": row.device,
        "format": row.format,
        "distributed": row.distributed,
        "recipe_digest": registry.recipe_digest(name),
        "adoption": adoption.cost(name),
        **style,
    }


def _lines(path: Path) -> list[str]:
    return probe(lambda: path.read_text().splitlines()) or []


def _processor() -> str | None:
    return _cpuinfo("model name") or probe(platform.processor) or None


def _instructions() -> str | None:
    """The widest instructions of the processor that work on many numbers at once; None where it does not say."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()  # x86, ARM
    return next((name for flag, name in INSTRUCTIONS.items() if flag in flags), None)


def _cpuinfo(key: str) -> str | None:
    for line in _lines(PROC / "cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    command = ["git", *arguments]
    answer = probe(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
    return answer.stdout.strip() if answer and answer.returncode == 0 else None
