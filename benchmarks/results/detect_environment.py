"""Detect the content of environment.json: the machine, the versions, and disturbances of the measurements."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import cpuinfo
import psutil

from adapters import java, registry
from benchmarks.results import install_cost
from benchmarks.results.environment import Environment, FrameworkFacts, Git, Machine, Settings
from machine import ASSUMED_MEMORY, ROOT, probe, total_memory, usable_cores

PROC, SYS = Path("/proc"), Path("/sys")
QUIET_LOAD = 0.5
"""A higher load average means that other programs are busy."""
INSTRUCTIONS = {"avx512f": "AVX512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON"}
"""Flags of the processor for vector instructions, the widest first."""
PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "torch", "tensorflow", "keras", "h2o", "pyspark", "pyarrow", "pandas"),
    *("polars", "pytest", "pytest-benchmark", "psutil"),
)


def memory_limit() -> int | None:
    """Return the memory limit of the control group (version 1 or 2) in bytes, or None without a limit."""
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
        # The limits of all enclosing groups apply, too. A container sees only the outermost one.
        inner = base / group.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(base):
                with suppress(OSError, ValueError):  # "max" means no limit
                    limits.append(int((folder / file).read_text()))
    least, total = min(limits, default=None), total_memory()
    return least if least is not None and (total is None or least < total) else None


def default_memory_limit() -> int:
    """Return three quarters of the usable memory in bytes. A case that needs more slows down the whole machine."""
    return (memory_limit() or total_memory() or ASSUMED_MEMORY) * 3 // 4


def governor() -> str | None:
    """Return the CPU frequency governor ("performance", "powersave"), or None if it is unknown."""
    pattern = "cpu*/cpufreq/scaling_governor"
    files = probe(lambda: list((SYS / "devices" / "system" / "cpu").glob(pattern))) or []
    # The file of a core that is switched off cannot be read.
    return ", ".join(sorted({line.strip() for file in files for line in _lines(file)})) or None


def power() -> str | None:
    """Return "battery" or "mains", or None if there is no battery or the source is unknown."""
    battery = probe(lambda: psutil.sensors_battery())
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def load_average() -> float | None:
    """Return the load average of the last minute."""
    return probe(lambda: os.getloadavg()[0])


def disturbances() -> list[str]:
    """Return a warning for each disturbance that makes times longer or less steady, with its remedy."""
    warnings = []
    if (load := load_average() or 0.0) > QUIET_LOAD:
        warnings.append(
            f"the load average is {load:.1f} before the first measurement: other programs use the cores, so times will "
            "be longer and less steady. End these programs, or wait, and run again."
        )
    if power() == "battery":
        warnings.append(
            "the machine runs on battery and may lower its clock rate, more so as the battery empties: times will be "
            "longer. Plug it in and run again."
        )
    if (clock := governor()) and clock != "performance":
        warnings.append(
            f"the CPU governor is {clock}, not performance: the clock rate follows the load, so short phases run "
            "slower than long ones. Type: sudo cpupower frequency-set --governor performance"
        )
    return warnings


def machine() -> Machine:
    """Return the facts about this machine."""
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        processor=_processor().get("brand_raw") or probe(platform.processor) or None,
        cores=os.cpu_count(),
        usable_cores=usable_cores(),
        instructions=next((name for flag, name in INSTRUCTIONS.items() if flag in _processor().get("flags", ())), None),
        governor=governor(),
        power=power(),
        load_average=load_average(),
        memory_bytes=total_memory(),
        memory_limit_bytes=memory_limit(),
        python=platform.python_version(),
    )


def describe(run: str, settings: Settings) -> Environment:
    """Return the content of environment.json for a run that starts now."""
    return Environment(
        run=run,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        machine=machine(),
        warnings=tuple(disturbances()),
        java=java.version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
        git=Git(_git("rev-parse", "HEAD"), bool(_git("status", "--porcelain"))),
        settings=settings,
        frameworks={name: _framework(name, row) for name, row in registry.FRAMEWORKS.items()},
    )


def _framework(name: str, row: registry.Framework) -> FrameworkFacts:
    return FrameworkFacts(
        version=row.version,
        reason=row.missing(),
        device=row.device,
        format=row.format,
        distributed=row.distributed,
        recipe_digest=registry.recipe_digest(name),
        install_cost=install_cost.cost(name),
        style=row.plugin.style if row.plugin else None,
    )


@cache
def _processor() -> dict[str, Any]:
    """Return the facts that py-cpuinfo reports, which takes about a second."""
    return probe(cpuinfo.get_cpu_info) or {}


def _lines(path: Path) -> list[str]:
    return probe(lambda: path.read_text().splitlines()) or []


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    command = ["git", *arguments]
    answer = probe(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
    return answer.stdout.strip() if answer and answer.returncode == 0 else None
