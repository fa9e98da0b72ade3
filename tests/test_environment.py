"""The facts about the machine and the sources are read from files as the kernel writes them."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import cpuinfo
import psutil
import pytest

from benchmarks.results import detect_environment
from benchmarks.results.environment import FILE, Environment, Git, InstallCost, Settings, from_json, read, resumed
from datasets.files import write_json
from errors import BadInput
from tests.conftest import ROOT

Battery = namedtuple("Battery", "percent secsleft power_plugged")
GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate an idle machine on mains that reports nothing else. Return a folder for its `proc` and `sys`."""
    monkeypatch.setattr(detect_environment, "PROC", tmp_path / "proc")
    monkeypatch.setattr(detect_environment, "SYS", tmp_path / "sys")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 3.0, 3.0))
    monkeypatch.setattr(psutil, "sensors_battery", lambda: Battery(80, 3600, True), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_quiet_machine_has_no_warnings(machine: Path) -> None:
    write(machine / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    assert detect_environment.disturbances() == []
    assert (detect_environment.governor(), detect_environment.power()) == ("performance", "mains")


def test_each_warning_says_what_to_do(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(machine / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    monkeypatch.setattr(os, "getloadavg", lambda: (1.31, 0.0, 0.0))
    monkeypatch.setattr(psutil, "sensors_battery", lambda: Battery(80, 3600, False), raising=False)
    load, power, governor = detect_environment.disturbances()
    assert load.startswith("the load average is 1.3 ") and "run again" in load
    assert "battery" in power and "Plug it in" in power
    assert "governor is powersave" in governor and "Type: sudo cpupower" in governor


def test_unknown_facts_are_none_and_give_no_warning(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    assert (detect_environment.governor(), detect_environment.power(), detect_environment.memory_limit()) == (
        None,
        None,
        None,
    )
    assert detect_environment.disturbances() == []
    assert detect_environment.default_memory_limit() == psutil.virtual_memory().total * 3 // 4


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/user/me\n", {"user/memory.max": f"{GIB}\n", "user/me/memory.max": "max\n"}),
        ("0::/\n", {"memory.max": f"{GIB}\n"}),
        ("8:pids:/\n4:memory:/job/1\n0::/\n", {"memory/job/1/memory.limit_in_bytes": f"{GIB}\n"}),
        ("4:cpu,memory:/not/seen/in/here\n", {"memory/memory.limit_in_bytes": f"{GIB}\n"}),
    ],
    ids=["version 2, enclosing group", "version 2, container", "version 1", "version 1, container"],
)
def test_the_memory_limit_is_the_limit_of_the_control_group(machine: Path, groups: str, files: dict[str, str]) -> None:
    write(machine / "proc/self/cgroup", groups)
    for name, text in files.items():
        write(machine / "sys/fs/cgroup" / name, text)
    assert detect_environment.memory_limit() == GIB
    assert detect_environment.default_memory_limit() == GIB * 3 // 4


def test_a_limit_above_the_memory_of_the_machine_is_no_limit(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "4:memory:/\n")
    write(machine / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert detect_environment.memory_limit() is None


@pytest.fixture
def fresh_processor() -> Iterator[None]:
    """Let a test ask for the processor again, although the answer is cached."""
    detect_environment._processor.cache_clear()
    yield
    detect_environment._processor.cache_clear()


@pytest.mark.usefixtures("fresh_processor")
@pytest.mark.parametrize(
    ("flags", "instructions"),
    [
        ("fpu sse2 avx avx2 avx512f avx512vl", "AVX512"),
        ("fpu sse2 avx avx2", "AVX2"),
        ("fpu sse2 avx", "AVX"),
        ("fp asimd sve", "SVE"),
        ("fp asimd", "NEON"),
        ("fpu sse2", None),
    ],
)
def test_the_widest_vector_instructions_of_the_processor_are_named(
    flags: str, instructions: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"brand_raw": "A processor", "flags": sorted(flags.split())}
    monkeypatch.setattr(cpuinfo, "get_cpu_info", lambda: facts)
    found = detect_environment.machine()
    assert (found.processor, found.instructions) == ("A processor", instructions)


@pytest.mark.usefixtures("fresh_processor")
@pytest.mark.parametrize("error", [OSError("no /proc/cpuinfo"), ValueError("odd"), None], ids=repr)
def test_a_processor_that_cannot_be_detected_is_unknown(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect() -> dict[str, object]:
        if error:
            raise error
        return {}

    monkeypatch.setattr(cpuinfo, "get_cpu_info", detect)
    monkeypatch.setattr(platform, "processor", lambda: "")
    found = detect_environment.machine()
    assert (found.processor, found.instructions) == (None, None)


def test_the_command_is_recorded_as_the_user_would_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--framework", "spark", "--output", "my runs/1"]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "__main__.py"), *words])
    recorded = detect_environment.describe("run", Settings()).command
    assert recorded == "python -m benchmarks run --framework spark --output 'my runs/1'"
    assert shlex.split(recorded)[3:] == words


def test_the_commit_is_recorded_and_whether_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.setattr(detect_environment, "ROOT", tmp_path)
    git("init")
    git("commit", "--allow-empty", "--message", "one")
    assert detect_environment.describe("run", Settings()).git == Git(git("rev-parse", "HEAD"), dirty=False)
    (tmp_path / "new.py").write_text("")
    assert detect_environment.describe("run", Settings()).git.dirty


def test_describing_the_machine_imports_no_large_package() -> None:
    script = (
        "import sys\n"
        "from benchmarks.results import detect_environment\n"
        "from benchmarks.results.environment import Settings\n"
        "detect_environment.describe('run', Settings())\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'torch', 'tensorflow', 'h2o', 'pyspark'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_environment_is_read_as_it_was_written(tmp_path: Path) -> None:
    described = detect_environment.describe(
        "run", Settings(threads=(1, 2), seed=7, launches=3, rounds=3, time_limit_s=60.0)
    )
    write_json(tmp_path / FILE, described)
    assert read(tmp_path / FILE) == described


def test_an_environment_of_an_earlier_version_can_be_read() -> None:
    cost = {"packages": 7, "megabytes": 312.4, "adapter_lines": 120}
    read_back = from_json({"settings": {"threads": 2}, "frameworks": {"h2o": {"adoption": cost}, "spark": {}}})
    assert read_back.settings.threads == 2
    assert read_back.framework("h2o").install_cost == InstallCost(7, 312.4, 120)
    assert read_back.framework("spark").install_cost is None


def test_a_missing_environment_is_empty_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read(tmp_path / FILE) == Environment()
    for text in ("", "[]", '{"machine": {"cores": -1}}', '{"machine": 5}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(BadInput, match=r"environment\.json is damaged \(.*\)\. Delete it to continue"):
            read(tmp_path / FILE)


def test_a_resumed_run_keeps_its_first_start_and_the_warnings_of_all_sessions() -> None:
    first = Environment(started="2026-01-01T00:00:00+00:00", warnings=("battery",), git=Git("a1", dirty=True))
    second = Environment(started="2026-01-02T00:00:00+00:00", warnings=("load", "battery"), git=Git("a2"))
    both = resumed(first, second)
    assert both.started == first.started
    assert both.warnings == ("battery", "load")
    assert both.git == Git("a2", dirty=True)
    assert resumed(Environment(), second) == second
