"""Every command gives a result for correct input, and one line for wrong input."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from adapters import registry
from benchmarks.case_process.events import FILE as EVENTS
from benchmarks.results import records
from datasets.flowers import FEATURES, SPECIES
from tests.conftest import ROOT, Command, TrainedModel, missing, one_line

IRIS = ROOT / "datasets" / "iris.csv"
HEADER = "sepal_length,sepal_width,petal_length,petal_width,species\n"
GOOD = "5.1,3.5,1.4,0.2,setosa\n7.0,3.2,4.7,1.4,versicolor\n6.3,3.3,6.0,2.5,virginica\n"


@pytest.fixture(scope="module")
def model(trained_model: TrainedModel) -> Path:
    return trained_model("scikit-learn")


@pytest.mark.parametrize("framework", [name for name in registry.FRAMEWORKS if name != "baseline"])
def test_every_framework_trains_and_predicts_the_150_flowers(
    framework: str, trained_model: TrainedModel, command: Command, tmp_path: Path
) -> None:
    trained = trained_model(framework)
    predicted = command(
        *("adapters", "predict", "--model", os.path.relpath(trained, ROOT)),
        *("--data", IRIS, "--output", tmp_path / "out.csv"),
    )
    assert predicted.returncode == 0, predicted.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["species", *(f"probability_{name}" for name in SPECIES)]
    correct = [row["species"] == SPECIES[number // 50] for number, row in enumerate(rows)]
    assert len(correct) == 150
    assert sum(correct) >= 140
    for row in rows:
        assert sum(float(row[f"probability_{name}"]) for name in SPECIES) == pytest.approx(1.0, abs=1e-5)
    assert json.loads((trained / "model.json").read_text())["framework"] == framework


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        (HEADER, "has a header but no rows; add a row per flower"),
        (HEADER.replace("petal_width,", "") + "1,2,3,setosa\n", "has no column petal_width"),
        (HEADER + GOOD + "1,2,wide,4,setosa\n", "row 4, column petal_length: 'wide' is not a number"),
        (HEADER + "1,2,nan,4,setosa\n", "row 1, column petal_length: the value is missing"),
        (HEADER + "1,,3,4,setosa\n", "row 1, column sepal_width: the value is missing"),
        (HEADER + "1,2,3,inf,setosa\n", "row 1, column petal_width: 'inf' is not a length in cm"),
        (HEADER + GOOD + "1,2,3,4,tulip\n", "row 4, column species: there is no species 'tulip'"),
        (HEADER + "1,2,3\n", "cannot be read"),
        (HEADER + "5.1,3.5,1.4,0.2,setosa\n", "has no versicolor and no virginica"),
    ],
)
def test_wrong_flowers_give_one_line_and_write_no_file(
    content: str, problem: str, command: Command, tmp_path: Path
) -> None:
    data = tmp_path / "flowers.csv"
    data.write_text(content)
    words = ["--framework", "scikit-learn", "--model", "logistic", "--data", data, "--output", tmp_path / "model"]
    answer = one_line(command("adapters", "train", *words))
    assert problem in answer
    assert str(data) in answer
    assert list(tmp_path.iterdir()) == [data]


def test_a_folder_that_is_not_a_model_is_named(command: Command, tmp_path: Path) -> None:
    words = ["--data", IRIS, "--output", tmp_path / "out.csv"]
    assert "is not a model folder" in one_line(command("adapters", "predict", "--model", tmp_path, *words))
    (tmp_path / "model.json").write_text('{"framework": "abacus", "track": "tuned"}')
    assert "train the model again" in one_line(command("adapters", "predict", "--model", tmp_path, *words))
    assert not (tmp_path / "out.csv").exists()


def test_wrong_data_for_predict_leaves_earlier_predictions_unchanged(
    command: Command, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text(HEADER + "1,2,3,wide,setosa\n")
    (tmp_path / "out.csv").write_text("earlier predictions")
    words = ["--model", model, "--data", tmp_path / "bad.csv", "--output", tmp_path / "out.csv"]
    assert "row 1, column petal_width" in one_line(command("adapters", "predict", *words))
    assert (tmp_path / "out.csv").read_text() == "earlier predictions"


def test_columns_are_also_found_under_the_names_of_r_and_scikit_learn(
    command: Command, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.csv").write_text(
        '"Species","Petal.Width","Petal.Length","Sepal.Width","Sepal.Length"\nx,0.2,1.4,3.5,5.1\n'
    )
    words = ["--model", model, "--data", tmp_path / "r.csv", "--output", tmp_path / "out.csv"]
    assert command("adapters", "predict", *words).returncode == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("setosa,")


def test_parquet_and_csv_give_the_same_predictions(command: Command, model: Path, tmp_path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.csv.read_csv(IRIS), tmp_path / "iris.parquet")
    for data, output in ((IRIS, "a.csv"), (tmp_path / "iris.parquet", "b.csv")):
        done = command("adapters", "predict", "--model", model, "--data", data, "--output", tmp_path / output)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_unused_categories_are_ignored(command: Command, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.csv.read_csv(IRIS)
    names = pa.DictionaryArray.from_arrays(pa.array([i // 50 for i in range(150)]), pa.array([*SPECIES, "tulip"]))
    table = table.set_column(4, "species", names)
    pyarrow.parquet.write_table(table, tmp_path / "iris.parquet")
    words = [
        "--framework",
        "baseline",
        "--model",
        "mlp",
        "--data",
        tmp_path / "iris.parquet",
        "--output",
        tmp_path / "m",
    ]
    done = command("adapters", "train", *words)
    assert done.returncode == 0, done.stderr


def test_a_column_with_one_value_gives_no_nan(command: Command, tmp_path: Path) -> None:
    lines = [line.rsplit(",", 2) for line in IRIS.read_text().splitlines()[1:]]
    (tmp_path / "flat.csv").write_text(HEADER + "".join(f"{rest},0.2,{species}\n" for rest, _, species in lines))
    words = [
        "--framework",
        "pytorch-cpu",
        "--model",
        "mlp",
        "--data",
        tmp_path / "flat.csv",
        "--output",
        tmp_path / "m",
    ]
    if reason := missing("pytorch-cpu"):
        pytest.skip(reason)
    assert command("adapters", "train", *words).returncode == 0
    words = ["--model", tmp_path / "m", "--data", tmp_path / "flat.csv", "--output", tmp_path / "out.csv"]
    assert command("adapters", "predict", *words).returncode == 0
    assert "nan" not in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["datasets", "make", "--rows", "150", "--output", "README.md/x"], "README.md/x: Not a directory"),
        (
            ["datasets", "make", "--rows", "150", "--seed", "4294967296", "--output", "x"],
            "less than or equal to 4294967295",
        ),
        (["datasets", "make", "--rows", "many", "--output", "x"], "'many' is not a number of rows"),
        (["datasets", "make", "--output", "x"], "Missing option '--rows'"),
        (["datasets", "describe", "."], "is not a dataset"),
        (
            ["adapters", "train", "--framework", "abacus"],
            "there is no framework 'abacus'; choose from baseline, scikit-learn",
        ),
        (
            ["adapters", "predict", "--model", "nowhere", "--data", "x", "--output", "y"],
            "nowhere is not a model folder",
        ),
        (["benchmarks", "run", "--framework", "abacus"], "there is no framework 'abacus'"),
        (["benchmarks", "run", "--model", "tree"], "there is no model 'tree'"),
        (["benchmarks", "run", "--rows", "0"], "'0' is not a number of rows"),
        (["benchmarks", "run", "--memory-limit", "lots"], "'lots' is not an amount of memory"),
        (["benchmarks", "run", "--threads", "4096"], "this process may use"),
        (["benchmarks", "run", "--threads", "0"], "'0' is not a number of threads"),
        (["benchmarks", "list", "--profile", "slow"], "there is no profile 'slow'"),
        (["benchmarks", "fly"], "No such command 'fly'"),
    ],
)
def test_a_wrong_argument_gives_one_line(words: list[str], problem: str, command: Command) -> None:
    assert problem in one_line(command(*words))


@pytest.mark.parametrize(
    "words",
    [
        *(["datasets"], ["adapters"], ["adapters", "train"], ["benchmarks"]),
        *(["benchmarks", name] for name in ("list", "run", "compare", "overhead", "adapter-overhead", "tune")),
    ],
)
def test_every_command_has_help(words: list[str], command: Command) -> None:
    done = command(*words, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_list_shows_the_cases_and_runs_none(command: Command) -> None:
    done = command("benchmarks", "list", "--framework", "spark", "--rows", "1e6", "--rows", "150")
    assert done.returncode == 0
    assert "4 cases, launches: chosen by the run" in done.stdout
    assert done.stdout.count("1,000,000") >= 2
    assert "the whole run: about" in done.stdout
    twice = command("benchmarks", "list", "--framework", "spark", "--rows", "150", "--launches", "2", "--threads", "1")
    assert "2 cases, launches: 2, threads: 1, seed: 0" in twice.stdout


def test_list_marks_the_optional_sizes(command: Command) -> None:
    done = command("benchmarks", "list", "--framework", "baseline", "--model", "mlp")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if ", optional" in line and "10,000,000" in line]
    assert "optional: measured only if the forecast fits into the time budget" in done.stdout


def test_describe_shows_the_content_of_a_dataset(command: Command, tmp_path: Path) -> None:
    made = command("datasets", "make", "--rows", "10_000", "--seed", "3", "--output", tmp_path / "d")
    assert made.returncode == 0, made.stderr
    described = command("datasets", "describe", tmp_path / "d")
    assert "10,000 train rows, seed 3" in described.stdout
    assert "Bayes accuracy 0.98" in described.stdout
    for name in (*FEATURES, *SPECIES):
        assert name in described.stdout


def test_a_run_writes_a_record_for_each_launch_and_a_report(command: Command, tmp_path: Path) -> None:
    words = [
        "--framework",
        "scikit-learn",
        "--framework",
        "baseline",
        "--model",
        "logistic",
        "--rows",
        "150",
        "--rows",
        "5000",
    ]
    words += ["--launches", "2"]
    done = command("benchmarks", "run", *words, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path / 'run' / 'report.html'}" in done.stdout
    left = list(records.read(tmp_path / "run"))
    assert [record.outcome for record in left] == ["ok"] * 8
    assert [record.launch for record in left] == [1] * 4 + [2] * 4
    for record in left:
        assert tuple(record.phases) == records.PHASES
        assert all(phase.seconds for phase in record.phases.values())
        assert record.phases["train"].warmup_seconds
        assert len(record.phases["predict_one"].seconds) == 200
        assert record.phases["train"].peak_memory_bytes
        assert record.phases["train"].involuntary_switches is not None
        assert record.first_prediction_seconds is not None
        assert record.model_bytes
        assert len(record.probe_seconds) == 5
        assert record.harness is not None
        assert record.supervisor_cpu_seconds
        assert ("blas" in record.build) == (record.launch == 1)
        if record.case.rows == 150 and record.launch > 1:
            assert record.quality is None
        else:
            assert record.quality is not None
            assert record.quality.reached_target == (record.case.framework == "scikit-learn")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["settings"]["threads"] == [left[0].case.threads]
    again = command("benchmarks", "run", *words, "--output", tmp_path / "run")
    assert "already holds a run" in one_line(again)


def test_ctrl_c_keeps_all_records_makes_the_report_and_leaves_no_process(tmp_path: Path) -> None:
    words = [
        "--framework",
        "baseline",
        "--framework",
        "scikit-learn",
        "--model",
        "mlp",
        "--rows",
        "150",
        "--rows",
        "2e5",
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "run", *words, "--output", str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    cases = tmp_path / "run" / "cases"
    while not any('"train"' in path.read_text() for path in cases.glob(f"scikit-learn-mlp-200000-*/{EVENTS}")):
        assert run.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(run.pid).children(recursive=True)
    assert workers
    run.send_signal(signal.SIGINT)
    output = run.communicate()[0]
    assert run.returncode == 130, output
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    assert len(list(records.read(tmp_path / "run"))) >= 2
    assert (tmp_path / "run" / "report.html").exists()


def test_pytest_without_a_supervisor_shows_its_own_table(command: Command) -> None:
    done = command(
        "pytest", "benchmarks/case_process", "--framework", "scikit-learn", "--rows", "1000", "--model", "logistic"
    )
    assert done.returncode == 0, done.stdout
    assert "test_warm[train]" in done.stdout
    assert "Median" in done.stdout


@pytest.mark.parametrize(("option", "value"), [("--rows", "many"), ("--memory-limit", "lots"), ("--threads", "0")])
def test_pytest_without_a_supervisor_refuses_a_wrong_option(option: str, value: str, command: Command) -> None:
    done = command("pytest", "benchmarks/case_process", "--framework", "baseline", option, value)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert value in done.stderr


def test_pytest_without_a_framework_says_how_to_name_one(command: Command) -> None:
    done = command("pytest", "benchmarks/case_process")
    assert done.returncode == 4
    assert "name a framework: --framework baseline|scikit-learn|" in done.stderr + done.stdout
