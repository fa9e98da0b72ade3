"""Frameworks from outside the repository run by the documented commands, and only if the user names their files."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from adapters import digest, plugins, registry
from benchmarks.results import records, runs
from benchmarks.scheduling import configuration
from errors import BadInput
from tests.conftest import ROOT, Command, one_line

EXAMPLE = ROOT / "tests" / "nearest_centroid.py"
IRIS = ROOT / "datasets" / "iris.csv"
NAME = "nearest-centroid"
MEASURED = ["--framework", NAME, "--framework", "baseline", "--model", "logistic", "--rows", "150", "--launches", "1"]


@pytest.fixture
def centroid(tmp_path: Path) -> Path:
    """Return a copy of the example outside the repository."""
    return Path(shutil.copy(EXAMPLE, tmp_path / "my centroid.py"))


def with_change(path: Path, old: str, new: str) -> Path:
    """Replace text in a file, which must contain it, and return the path."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def leaving_a_mark(path: Path) -> Path:
    """Change an adapter file so that its code creates a file when it runs. Return the path of that file."""
    mark = path.with_name("its code has run")
    path.write_text(f"{path.read_text()}\n\nPath({str(mark)!r}).touch()\n")
    return mark


def test_an_adapter_file_passes_the_contract_and_is_measured_resumed_and_reported(
    command: Command, centroid: Path, tmp_path: Path
) -> None:
    contract = command("pytest", "-q", "-p", "no:cacheprovider", "tests/contract.py", "--adapter", centroid)
    assert contract.returncode == 0, contract.stdout
    passed = re.search(r"(\d+) passed", contract.stdout)
    assert passed and int(passed[1]) > 10

    run = tmp_path / "run"
    measured = command("benchmarks", "run", "--adapter", centroid, *MEASURED, "--output", run)
    assert measured.returncode == 0, measured.stderr
    before = {record.case.framework: record for record in records.read(run)}
    assert [before[name].outcome for name in (NAME, "baseline")] == ["ok", "ok"]
    assert before[NAME].quality is not None and before[NAME].quality.accuracy > 0.9
    facts = runs.read(run).environment.framework(NAME)
    assert facts.format == "JSON"
    assert facts.install_cost is not None
    assert facts.install_cost.adapter_lines == EXAMPLE.read_text().count("\n")

    records.set_aside(run, lambda record: record.case.framework != NAME)
    answer = one_line(command("benchmarks", "run", "--resume", run))
    assert f"name it again: --adapter {shlex.quote(str(centroid))}" in answer
    centroid = centroid.rename(tmp_path / "elsewhere.py")
    with_change(centroid, "the nearest centroid, in plain NumPy", "reworded")
    resumed = command("benchmarks", "run", "--resume", run, "--adapter", centroid)
    assert resumed.returncode == 0, resumed.stderr
    assert [record.case.framework for record in records.read(run)] == ["baseline", NAME]

    with_change(centroid, ".mean(axis=0)", ".min(axis=0)")
    assert "elsewhere.py has changed since this run began" in one_line(
        command("benchmarks", "run", "--resume", run, "--adapter", centroid)
    )
    centroid.unlink()
    assert "there is no such Python file" in one_line(
        command("benchmarks", "run", "--resume", run, "--adapter", centroid)
    )
    drawn = command("reports", run)
    assert drawn.returncode == 0, drawn.stderr
    for chart in ("accuracy-logistic", "train-logistic"):
        assert "#7b4b94" in (run / "figures" / f"{chart}.svg").read_text().lower(), chart
    assert NAME in (run / "report.html").read_text()


def test_an_adapter_file_trains_and_predicts(command: Command, centroid: Path, tmp_path: Path) -> None:
    model, predictions = tmp_path / "model", tmp_path / "predictions.csv"
    words = ["--adapter", centroid, "--framework", NAME, "--model", "logistic", "--data", IRIS, "--output", model]
    trained = command("adapters", "train", *words)
    assert trained.returncode == 0, trained.stderr
    predict = ["adapters", "predict", "--model", model, "--data", IRIS, "--output", predictions]
    assert "--adapter FILE.py" in one_line(command(*predict))
    assert command(*predict, "--adapter", centroid).returncode == 0
    assert predictions.read_text().count("\n") == 151


def test_a_case_of_an_adapter_file_runs_without_a_supervisor(command: Command, centroid: Path) -> None:
    done = command(
        "pytest", "benchmarks/case_process", "--adapter", centroid, "--framework", NAME, "--model", "logistic"
    )
    assert done.returncode == 0, done.stdout
    assert "test_warm[train]" in done.stdout
    unknown = command("pytest", "benchmarks/case_process", "--framework", NAME)
    assert unknown.returncode == 4
    assert f"there is no framework '{NAME}'" in unknown.stderr


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("FRAMEWORK =", "ROW =", "has no FRAMEWORK; add it"),
        ("FRAMEWORK = {", "FRAMEWORK = {{", "line 16 is not Python"),
        ('"name": "nearest-centroid"', '"name": "scikit-learn"', "there is a framework scikit-learn already"),
        ('"name": "nearest-centroid"', '"name": "../up"', "FRAMEWORK is wrong"),
        ('"name": "nearest-centroid"', '"name": str(1)', "must be a dictionary of literal values"),
        ('"format"', '"formats"', "unknown field `formats`"),
        ('"requires": ["numpy"]', '"requires": ["num py"]', "FRAMEWORK requires 'num py'"),
        ("class NearestCentroid(", "1 / 0\n\n\nclass NearestCentroid(", "line 30, failed: ZeroDivisionError"),
        ('"adapter": "NearestCentroid"', '"adapter": "Furthest"', "failed: AttributeError"),
        ('"adapter": "NearestCentroid"', '"adapter": "Path"', "Path is not an Adapter"),
        ("def train(", "def teach(", "failed: TypeError: Can't instantiate abstract class NearestCentroid"),
        ("import json\n", "import sklearn\nimport json\n", "line 5, failed: ModuleNotFoundError"),
    ],
)
def test_a_wrong_adapter_file_gives_one_line_with_its_path(
    old: str, new: str, problem: str, command: Command, centroid: Path, tmp_path: Path
) -> None:
    with_change(centroid, old, new)
    words = ["--adapter", centroid, "--framework", NAME, "--rows", "150", "--output", tmp_path / "run"]
    if "scikit-learn" in new:
        words[3] = "scikit-learn"
    answer = one_line(command("benchmarks", "run", *words))
    assert problem in answer
    assert str(centroid) in answer
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["nowhere.py", "adapter.txt", "."])
def test_a_path_that_is_not_a_python_file_gives_one_line(name: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "adapter.txt").touch()
    answer = one_line(command("adapters", "list", "--adapter", tmp_path / name))
    assert "there is no such Python file" in answer


def test_the_contract_tests_name_the_problem_of_a_file_in_one_line(command: Command, centroid: Path) -> None:
    with_change(centroid, "class NearestCentroid(", "1 / 0\n\n\nclass NearestCentroid(")
    done = command("pytest", "tests/contract.py", "--adapter", centroid)
    assert done.returncode == 4
    assert done.stderr.strip().splitlines() == [
        f"ERROR: {centroid}, line 30, failed: ZeroDivisionError: division by zero; correct it"
    ]


def test_the_code_of_an_adapter_file_runs_only_when_it_is_measured_or_used(command: Command, centroid: Path) -> None:
    mark = leaving_a_mark(centroid)
    for words in (["adapters", "list"], ["benchmarks", "list", "--framework", NAME, "--rows", "150"]):
        done = command(*words, "--adapter", centroid)
        assert done.returncode == 0, done.stderr
        assert NAME in done.stdout
    assert not mark.exists()
    command("pytest", "tests/contract.py", "--adapter", centroid, "--collect-only")
    assert mark.exists()


def test_a_received_run_cannot_make_a_command_run_an_adapter_file(
    command: Command, centroid: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    measured = command("benchmarks", "run", "--adapter", centroid, *MEASURED, "--output", run)
    assert measured.returncode == 0, measured.stderr
    mark = leaving_a_mark(centroid)
    plan = json.loads((run / configuration.FILE).read_text())
    plan["adapters"][0]["digest"] = digest.of_source(centroid.read_bytes())
    (run / configuration.FILE).write_text(json.dumps(plan))
    assert "if you trust that file" in one_line(command("benchmarks", "run", "--resume", run))
    assert command("reports", run).returncode == 0
    assert command("benchmarks", "compare", run, run).returncode == 0
    plan["adapters"][0]["framework"] = "baseline"  # claim that the file adds one of our frameworks
    (run / configuration.FILE).write_text(json.dumps(plan))
    one_line(command("benchmarks", "run", "--resume", run))
    assert not mark.exists()


@pytest.fixture
def installed(tmp_path: Path, centroid: Path) -> Path:
    """Return a folder of installed packages, one with an adapter."""
    site = tmp_path / "site"
    (site / "centroids").mkdir(parents=True)
    (site / "centroids" / "__init__.py").touch()
    shutil.copy(centroid, site / "centroids" / "adapter.py")
    about = site / "centroids-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: centroids\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nmine = centroids.adapter\n")
    return site


def test_an_installed_package_adds_its_framework(command: Command, installed: Path, tmp_path: Path) -> None:
    path = f"{ROOT}:{installed}"
    words = ["--framework", NAME, "--model", "logistic", "--data", IRIS, "--output", tmp_path / "model"]
    trained = command("adapters", "train", *words, PYTHONPATH=path)
    assert trained.returncode == 0, trained.stderr
    collected = command("pytest", "tests/contract.py", "--adapter", NAME, "--collect-only", "-q", PYTHONPATH=path)
    assert f"Test_{NAME}::" in collected.stdout
    with_change(installed / "centroids" / "adapter.py", f'"name": "{NAME}"', '"name": "spark"')
    answer = one_line(command("adapters", "list", PYTHONPATH=path))
    assert "the installed package centroids: there is a framework spark already" in answer


def test_two_files_cannot_add_a_framework_with_the_same_name(
    centroid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "FRAMEWORKS", dict(registry.FRAMEWORKS))
    assert registry.add(centroid) == registry.add(centroid) == NAME
    with pytest.raises(BadInput, match=f"there is a framework {NAME} already"):
        registry.add(Path(shutil.copy(centroid, tmp_path / "other.py")))
