"""What stands behind the numbers of a run: the machine, the versions, the settings."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from adapters import java, registry

ROOT = Path(__file__).resolve().parent.parent
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


def usable_cores() -> int:
    """The number of cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_memory_limit() -> int:
    """Three quarters of the memory that we may use, in bytes: a case that takes more would drag the machine down."""
    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # "max" where the control group has no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total * 3 // 4


def describe(run: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "run": run,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": {
            "system": platform.system(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
            "memory_bytes": psutil.virtual_memory().total,
            "python": platform.python_version(),
        },
        "java": java.version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))},
        "settings": settings,
        "frameworks": {
            name: {"version": row.version, "reason": row.missing(), "device": row.device}
            for name, row in registry.FRAMEWORKS.items()
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
