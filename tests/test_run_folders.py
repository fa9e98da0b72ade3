"""A run and a report write only to their own files, whatever the folders that they are given contain."""

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

from benchmarks import case_data
from benchmarks.cases import PROFILES, Limits, plan
from benchmarks.results import records
from benchmarks.results.records import FILE, SET_ASIDE
from benchmarks.scheduling import configuration, output_folder
from benchmarks.scheduling.configuration import RunConfiguration
from errors import BadInput
from reports import load, output
from tests.conftest import ROOT, Command, one_line
from tests.factories import make_run, record
from tests.mutations import damaged
from tests.planned_run import make_planned_run

ONE = ["--framework", "baseline", "--model", "mlp", "--rows", "150", "--launches", "1"]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder outside all runs. Fail if its content has changed after the test."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years\n")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert (folder / "thesis.txt").read_text() == "ten years\n"


def test_a_plan_whose_names_lead_out_of_the_folder_is_refused(command: Command, tmp_path: Path, victim: Path) -> None:
    run = make_planned_run(tmp_path / "runs" / "got", models=["x/../../../../victim"])
    (run / "cases" / "baseline-x").mkdir(parents=True)
    assert "there is no model 'x/../../../../victim'" in one_line(command("benchmarks", "run", "--resume", run))


def test_a_damaged_plan_is_refused_or_stays_in_its_folder(tmp_path: Path) -> None:
    random_, failures, read = random.Random(3), [], 0
    run = make_planned_run(tmp_path / "run")
    text = (run / configuration.FILE).read_text()
    for _ in range(300):
        (run / configuration.FILE).write_bytes(damaged(text, random_))
        try:
            planned = RunConfiguration.read(output_folder.to_resume(run))
            planned.check()
            for case, launch in planned.plan.steps():
                assert (run / "cases" / f"{case.slug}-{launch}").resolve().parent == run / "cases"
            read += 1
        except BadInput as error:
            assert "\n" not in str(error)
        except Exception:
            failures.append(traceback.format_exc(limit=-3))
    assert not failures, "\n".join(failures)
    assert 10 < read < 290


PUBLISHED = sorted(ROOT.glob("reports/published/*/plan.json"))


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda path: path.parent.name)
def test_the_plan_of_a_published_run_can_be_read(published: Path, tmp_path: Path) -> None:
    content = json.loads(published.read_text())
    if isinstance(content["plan"]["threads"], int):  # written by an earlier version, which is refused
        with pytest.raises(BadInput, match="Start a new run"):
            RunConfiguration.read(published.parent)
        content["plan"]["threads"] = [content["plan"]["threads"]]
    (tmp_path / configuration.FILE).write_text(json.dumps(content))
    assert len(RunConfiguration.read(tmp_path).plan.frameworks) == 8


def test_a_plan_of_an_earlier_version_is_refused_in_one_line(command: Command, tmp_path: Path) -> None:
    run = make_planned_run(tmp_path / "run", threads=2)
    refused = one_line(command("benchmarks", "run", "--resume", run))
    assert "plan.json is damaged: Expected `array`, got `int` - at `$.plan.threads`. Start a new run" in refused


def test_a_configuration_is_read_as_it_was_written(tmp_path: Path) -> None:
    chosen = plan(PROFILES["quick"], ["baseline", "scikit-learn"], threads=[1, 2], seed=3)
    planned = RunConfiguration(chosen, Limits(60.0, 2**30, 900.0, 2), skip=False, time_budget_s=450.0)
    planned.write(tmp_path)
    assert RunConfiguration.read(tmp_path) == planned
    assert (planned.settings.threads, planned.settings.launches, planned.settings.rounds) == ((1, 2), None, 2)


def test_only_one_process_can_lock_the_folder_of_a_run(tmp_path: Path) -> None:
    refused = pytest.raises(BadInput, match="another run is writing to")
    with output_folder.locked(tmp_path), refused, output_folder.locked(tmp_path):
        pass
    with output_folder.locked(tmp_path):
        pass


def test_a_symbolic_link_in_a_received_run_is_not_followed(command: Command, tmp_path: Path, victim: Path) -> None:
    case = "cases/baseline-mlp-150-tuned-t1-s0-1"
    targets = {SET_ASIDE: victim / "thesis.txt", "cases": victim, case: victim, configuration.FILE: tmp_path}
    for name, target in targets.items():
        run = make_planned_run(tmp_path / name.replace("/", "-"))
        (run / FILE).write_text("echo owned")  # an incomplete line, which a resumed run moves to another file
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
        (["--threads", "0"], "'0' is not a number of threads"),
        (["--time-limit", "nan"], "--time-limit"),
        (["--launches", "999999"], "1 to 100,000 launches"),
    ],
)
def test_a_run_that_exceeds_the_machine_is_refused_before_its_folder_is_made(
    words: list[str], problem: str, command: Command, tmp_path: Path
) -> None:
    assert problem in one_line(command("benchmarks", "run", *words, "--output", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_and_a_report_change_nothing_in_a_folder_with_other_files(command: Command, tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "results.csv").write_text("mine\n")
    run = make_run(tmp_path / "run", [record()])
    for words in (["benchmarks", "run", *ONE], ["reports", run]):
        assert "(results.csv)" in one_line(command(*words, "--output", used))
        assert [path.name for path in used.iterdir()] == ["results.csv"]
        assert (used / "results.csv").read_text() == "mine\n"


def test_a_report_replaces_an_earlier_report_and_no_other_file(tmp_path: Path) -> None:
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


def test_two_reports_written_at_once_do_not_mix(tmp_path: Path) -> None:
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
def test_a_damaged_reference_in_the_cache_is_computed_again(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IRISBENCH_DATA", str(tmp_path))
    case_data.make(2_000, 7)
    [path] = tmp_path.glob("maximum-likelihood-*.json")
    whole = path.read_text()
    path.write_text(kept)
    reference = case_data.maximum_likelihood(2_000, 7)
    assert 0.9 < reference.accuracy < 1
    assert 0.04 < reference.log_loss < 0.1
    assert path.read_text() == whole
    assert capsys.readouterr().err.count("It is made again") == 1
    assert case_data.maximum_likelihood(2_000, 7) == reference
    assert capsys.readouterr().err == ""


def on_a_small_disk(disk: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a tmpfs of 32 MiB mounted on `disk`, which only the script sees."""
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
def test_a_full_disk_ends_a_run_and_a_report_with_one_line_and_loses_no_record(free: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    again = "--resume" if free else " ".join([*ONE, "--output"])  # without free space there is no plan to resume
    done = on_a_small_disk(
        disk,
        f"""
        python benchmarks run {" ".join(ONE)} --output {disk}/run
        sed -i 's/"launches": 1/"launches": 2/' {disk}/run/{configuration.FILE}
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
