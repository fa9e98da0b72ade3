"""What is said of the machine, on files written as the kernel writes them, and of the sources."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from benchmarks.run_folder import environment
from tests.conftest import ROOT

Battery = namedtuple("Battery", "percent secsleft power_plugged")
GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which nothing is known, idle and on mains: folders `proc` and `sys` to write into."""
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    monkeypatch.setattr(environment, "SYS", tmp_path / "sys")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 3.0, 3.0))
    monkeypatch.setattr(psutil, "sensors_battery", lambda: Battery(80, 3600, True), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_quiet_machine_has_no_warnings(machine: Path) -> None:
    write(machine / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    assert environment.disturbances() == []
    assert (environment.governor(), environment.power()) == ("performance", "mains")


def test_what_disturbs_is_said_with_what_to_do(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(machine / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    monkeypatch.setattr(os, "getloadavg", lambda: (1.31, 0.0, 0.0))
    monkeypatch.setattr(psutil, "sensors_battery", lambda: Battery(80, 3600, False), raising=False)
    load, power, governor = environment.disturbances()
    assert load.startswith("the load average is 1.3 ") and "run again" in load
    assert "battery" in power and "Plug it in" in power
    assert "governor is powersave" in governor and "Type: sudo cpupower" in governor


def test_what_the_system_does_not_say_is_unknown_and_no_warning(machine: Path, monkeypatch) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    assert (environment.governor(), environment.power(), environment.memory_limit()) == (None, None, None)
    assert environment.disturbances() == []
    assert environment.default_memory_limit() == psutil.virtual_memory().total * 3 // 4


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/user/me\n", {"user/memory.max": f"{GIB}\n", "user/me/memory.max": "max\n"}),
        ("0::/\n", {"memory.max": f"{GIB}\n"}),
        ("8:pids:/\n4:memory:/job/1\n0::/\n", {"memory/job/1/memory.limit_in_bytes": f"{GIB}\n"}),
        ("4:cpu,memory:/not/seen/in/here\n", {"memory/memory.limit_in_bytes": f"{GIB}\n"}),
    ],
    ids=["version 2, of the group around", "version 2, container", "version 1", "version 1, container"],
)
def test_the_memory_limit_is_that_of_the_control_group(machine: Path, groups: str, files: dict[str, str]) -> None:
    write(machine / "proc/self/cgroup", groups)
    for name, text in files.items():
        write(machine / "sys/fs/cgroup" / name, text)
    assert environment.memory_limit() == GIB
    assert environment.default_memory_limit() == GIB * 3 // 4


def test_a_control_group_that_may_take_more_than_there_is_has_no_limit(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "4:memory:/\n")
    write(machine / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert environment.memory_limit() is None


@pytest.mark.parametrize(
    ("line", "instructions"),
    [
        ("flags\t\t: fpu sse2 avx avx2 avx512f avx512vl", "AVX512"),
        ("flags\t\t: fpu sse2 avx avx2", "AVX2"),
        ("Features\t: fp asimd", "NEON"),
        ("flags\t\t: fpu sse2", None),
    ],
)
def test_the_widest_instructions_of_the_processor_are_named(machine: Path, line: str, instructions: str | None) -> None:
    write(machine / "proc/cpuinfo", f"processor\t: 0\nmodel name\t: A processor\n{line}\n\n")
    machine_ = environment.describe("run", {})["machine"]
    assert machine_["instructions"] == instructions
    if "flags" in line:
        assert machine_["processor"] == "A processor"


def test_the_command_is_told_as_one_would_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--framework", "spark", "--output", "my runs/1"]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "__main__.py"), *words])
    told = environment.describe("run", {})["command"]
    assert told == "python -m benchmarks run --framework spark --output 'my runs/1'"
    assert shlex.split(told)[3:] == words


def test_the_commit_is_told_and_whether_sources_differ_from_it(tmp_path: Path, monkeypatch) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.setattr(environment, "ROOT", tmp_path)
    git("init")
    git("commit", "--allow-empty", "--message", "one")
    assert environment.describe("run", {})["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new.py").write_text("")
    assert environment.describe("run", {})["git"]["dirty"]


def test_the_harness_stays_small_for_describing_the_machine() -> None:
    script = (
        "import sys\n"
        "from benchmarks import environment\n"
        "environment.describe('run', {})\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'torch', 'tensorflow', 'h2o', 'pyspark'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
