"""What a run and a report may write to, whatever the folder holds that they are given."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import preparation
from benchmarks.run_folder import records
from benchmarks.run_folder.records import FILE, SET_ASIDE
from benchmarks.scheduling import runner
from benchmarks.scheduling.runner import ORDER, Order
from errors import BadInput
from reports import load, output
from tests.conftest import ROOT, Command, one_line
from tests.mutations import damaged
from tests.test_reports import make_run, record

ONE = ["--framework", "baseline", "--model", "mlp", "--rows", "150", "--launches", "1"]
PLAN = {
    "plan": {
        "frameworks": ["baseline"],
        "models": ["mlp"],
        "rows": [150],
        "tracks": ["tuned"],
        "launches": 1,
        "threads": 1,
        "seed": 0,
    },
    "limits": {"time_s": 60.0, "memory_bytes": 2**30, "case_s": 3600.0, "rounds": 1},
    "skip": True,
    "time_budget_s": None,
}


def received(folder: Path, **plan: object) -> Path:
    """A run's folder as somebody else could send it."""
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    (folder / ORDER).write_text(json.dumps(PLAN | {"plan": {**PLAN["plan"], **plan}}))  # type: ignore[dict-item]
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder outside of all runs; at the end its file is still there as it was."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years\n")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert (folder / "thesis.txt").read_text() == "ten years\n"


def test_a_plan_with_a_name_that_leads_elsewhere_is_refused(command: Command, tmp_path: Path, victim: Path) -> None:
    run = received(tmp_path / "runs" / "got", models=["x/../../../../victim"])
    (run / "cases" / "baseline-x").mkdir(parents=True)
    assert "there is no model 'x/../../../../victim'" in one_line(command("benchmarks", "run", "--resume", run))


def test_a_damaged_plan_is_refused_or_asks_for_what_there_is(tmp_path: Path) -> None:
    random_, failures, read = random.Random(3), [], 0
    run = received(tmp_path / "run")
    text = (run / ORDER).read_text()
    for _ in range(300):
        (run / ORDER).write_bytes(damaged(text, random_))
        try:
            order = Order.read(runner.resumed_folder(run))
            runner.check(order)
            for case, launch in order.plan.steps():
                assert (run / "cases" / f"{case.slug}-{launch}").resolve().parent == run / "cases"
            read += 1
        except BadInput as error:
            assert "\n" not in str(error)
        except Exception:
            failures.append(traceback.format_exc(limit=-3))
    assert not failures, "\n".join(failures)
    assert 10 < read < 290


@pytest.mark.parametrize(
    "published", sorted(ROOT.glob("reports/published/*/plan.json")), ids=lambda path: path.parent.name
)
def test_the_plan_of_a_published_run_can_be_read(published: Path) -> None:
    assert len(Order.read(published.parent).plan.frameworks) == 8


def test_a_link_in_a_received_run_leads_nowhere(command: Command, tmp_path: Path, victim: Path) -> None:
    case = "cases/baseline-mlp-150-tuned-t1-s0-1"
    for name, target in ((SET_ASIDE, victim / "thesis.txt"), ("cases", victim), (case, victim), (ORDER, tmp_path)):
        run = received(tmp_path / name.replace("/", "-"))
        (run / FILE).write_text("echo owned")  # a torn line, which a resumed run moves to another file
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)
        done = command("benchmarks", "run", "--resume", run)
        if name == case:
            assert done.returncode == 0, done.stderr
        else:
            assert f"{name} is a symbolic link" in one_line(done)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--rows", "1e18"], "rows"),
        (["--rows", "150", "--rows", "1e11"], "GiB are free"),
        (["--threads", "9999"], "this process may use"),
        (["--memory-limit", "1KiB"], "a case needs at least 128 MiB"),
        (["--memory-limit", "99999TiB"], "this machine has"),
        (["--time-limit", "nan"], "--time-limit"),
        (["--launches", "999999"], "1 to 100,000 launches"),
    ],
)
def test_more_than_the_machine_has_is_refused_before_a_folder_is_made(
    words: list[str], problem: str, command: Command, tmp_path: Path
) -> None:
    assert problem in one_line(command("benchmarks", "run", *words, "--output", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_and_a_report_leave_a_folder_in_use_alone(command: Command, tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "results.csv").write_text("mine\n")
    run = make_run(tmp_path / "run", [record()])
    for words in (["benchmarks", "run", *ONE], ["reports", run]):
        assert "(results.csv)" in one_line(command(*words, "--output", used))
        assert [path.name for path in used.iterdir()] == ["results.csv"]
        assert (used / "results.csv").read_text() == "mine\n"


def test_a_report_is_made_again_over_an_earlier_one_and_over_nothing_else(tmp_path: Path) -> None:
    runs = load.runs([make_run(tmp_path / "run", [record()])])
    folder = tmp_path / "report"
    output.write(folder, runs, {"report.md": "first", "figures/train.svg": "<svg/>"})
    output.write(folder, runs, {"report.md": "second", "figures/memory.svg": "<svg/>"})
    output.write(runs[0].folder, runs, {"report.md": "third"})
    assert (folder / "report.md").read_text() == "second"
    (folder / "figures" / "mine.png").touch()
    with pytest.raises(BadInput, match=r"figures/mine\.png"):
        output.write(folder, runs, {"report.md": "fourth"})
    assert (folder / "report.md").read_text() == "second"


def test_two_reports_at_once_do_not_mix(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [record()])
    script = f"""
from pathlib import Path
from reports import load, output
folder, runs = Path({str(tmp_path / "report")!r}), load.runs([Path({str(run)!r})])
for number in range(100):
    output.write(folder, runs, {{f"figures/{{n}}.svg": f"{{WHO}} {{number}}" for n in range(20)}})
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", f"WHO = {who!r}\n{script}"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        for who in "ab"
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len({path.read_text() for path in (tmp_path / "report" / "figures").iterdir()}) == 1


@pytest.mark.parametrize(
    "kept",
    [
        "5",
        "NaN",
        "",
        "[" * 100_000,
        '{"rows": 2000, "seed": 7, "format": 2, "accuracy": 5.0, "log_loss": 0.05}',
        '{"rows": 2000, "seed": 7, "format": 2, "accuracy": 0.98, "log_loss": -1.0}',
    ],
)
def test_a_damaged_reference_is_computed_again(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IRISBENCH_DATA", str(tmp_path))
    preparation.make(2_000, 7)
    [path] = tmp_path.glob("maximum-likelihood-*.json")
    whole = path.read_text()
    path.write_text(kept)
    reference = preparation.maximum_likelihood(2_000, 7)
    assert 0.9 < reference.accuracy < 1
    assert 0.04 < reference.log_loss < 0.1
    assert path.read_text() == whole
    assert capsys.readouterr().err.count("It is made again") == 1
    assert preparation.maximum_likelihood(2_000, 7) == reference
    assert capsys.readouterr().err == ""


def on_a_small_disk(disk: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a tmpfs of 32 MiB mounted on `disk`, which nobody else sees and which goes with it."""
    disk.mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode
    ):
        pytest.skip("only root on Linux can mount a small disk; run the tests as root")
    script = f"""
        set -e; mount -t tmpfs -o size=32m none {disk}
        fill() {{ head -c $(($(df --output=avail -B1 {disk} | tail -1) - $1)) /dev/zero > {disk}/ballast; }}
        python() {{ set +e; {sys.executable} -m "$@"; echo "exit code $?"; set -e; }}
        {script}
    """
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("free", [0, 4096])
def test_a_full_disk_ends_a_run_and_a_report_in_one_line_and_nothing_is_lost(free: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    again = "--resume" if free else " ".join([*ONE, "--output"])  # without any room there was no plan to resume
    done = on_a_small_disk(
        disk,
        f"""
        python benchmarks run {" ".join(ONE)} --output {disk}/run
        sed -i 's/"launches": 1/"launches": 2/' {disk}/run/{ORDER}
        checksums() {{ cd {disk}/run; sha256sum *.* figures/*; cd - > /dev/null; }}
        checksums > {tmp_path}/before
        fill {free}
        python benchmarks run {" ".join(ONE)} --output {disk}/other
        python reports {disk}/run
        python benchmarks run --resume {disk}/run
        checksums > {tmp_path}/after
        rm {disk}/ballast
        python benchmarks run {again} {disk}/other
        python benchmarks run --resume {disk}/run
        cp {disk}/run/{FILE} {tmp_path}
        """,
    )
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert codes == [f"exit code {code}" for code in (0, 1, 1, 1, 0, 0)], done.stdout + done.stderr
    assert [line.startswith("error: ") for line in done.stderr.splitlines()] == [True] * 3, done.stderr
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
    assert [one.launch for one in records.read(tmp_path)] == [1, 2]
