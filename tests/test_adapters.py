"""Every installed framework fulfils the contract, keeps to its threads, and leaves no process or file behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapters import registry
from adapters.base import Adapter, Resources
from adapters.errors import exhausted_memory
from adapters.plugins import Contract
from datasets import store
from datasets.flowers import real_flowers
from tests.conftest import ROOT, Command, missing, one_line
from tests.contract import GIB, AdapterContract, start

JVM = ("h2o", "spark")


class TestBaseline(AdapterContract):
    framework = "baseline"
    contract = Contract(streams=(), floor={"logistic": 0.32, "mlp": 0.32})


class TestScikitLearn(AdapterContract):
    framework = "scikit-learn"
    contract = Contract(streams=("mlp",))

    def test_libraries_use_the_given_threads(self, engine: Adapter) -> None:
        from threadpoolctl import threadpool_info

        engine.start(Resources(1, GIB, Path()))
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}


class TestPyTorchOnCpu(AdapterContract):
    framework = "pytorch-cpu"

    def test_torch_uses_the_given_threads(self, engine: Adapter) -> None:
        import torch

        assert torch.get_num_threads() == 1


class TestPyTorchOnGpu(AdapterContract):
    framework = "pytorch-gpu"


class TestTensorFlowOnCpu(AdapterContract):
    framework = "tensorflow-cpu"

    def test_tensorflow_uses_the_given_threads(self, engine: Adapter) -> None:
        import tensorflow as tf

        assert tf.config.threading.get_intra_op_parallelism_threads() == 1
        assert tf.config.threading.get_inter_op_parallelism_threads() == 1


class TestTensorFlowOnGpu(AdapterContract):
    framework = "tensorflow-gpu"


class TestH2O(AdapterContract):
    framework = "h2o"
    contract = Contract(
        has_blas=False,
        streams=(),
        not_reproducible={"mlp": "its threads update the weights without locks and in any order (Hogwild)"},
    )


def test_h2o_removes_the_flowers_that_it_predicted_one_by_one(tmp_path: Path) -> None:
    with start("h2o", tmp_path) as adapter:
        import h2o

        def keys() -> int:
            return h2o.api("GET /3/Cloud")["nodes"][0]["num_keys"]

        flowers, species = real_flowers()
        store.write(tmp_path / "flowers.parquet", flowers, species)
        table = adapter.load(tmp_path / "flowers.parquet")
        model = adapter.train(table, adapter.recipe("logistic", 150), seed=0)
        labels = adapter.predict(model, table).tolist()
        adapter.release(table)
        before = keys()
        assert [adapter.predict_one(model, flower) for flower in flowers] == labels
        until = time.monotonic() + 20
        while keys() - before >= len(flowers) and time.monotonic() < until:  # updated with a delay
            time.sleep(0.5)
        assert keys() - before < len(flowers)


class TestSpark(AdapterContract):
    framework = "spark"


def test_spark_uses_the_vector_instructions_of_java(tmp_path: Path) -> None:
    with start("spark", tmp_path) as adapter:
        assert adapter.build()["blas"] == "dev.ludovic.netlib.blas.VectorBLAS"


def javas() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]


def listening_addresses() -> set[str]:
    """Return the addresses on which the Java processes of this test accept connections."""
    sockets = [socket for java in javas() for socket in java.net_connections(kind="inet")]
    assert sockets
    return {socket.laddr.ip.removeprefix("::ffff:") for socket in sockets if socket.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("framework", JVM)
def test_a_jvm_uses_the_given_threads_listens_on_loopback_only_and_exits_on_close(
    framework: str, tmp_path: Path
) -> None:
    folder = tmp_path / "a name with spaces"
    folder.mkdir()
    adapter = start(framework, folder)
    try:
        running = javas()
        assert listening_addresses() == {"127.0.0.1"}
        assert threads_of(framework) == 1
        assert f"-Djava.io.tmpdir={folder}" in running[0].cmdline()
        assert not list(Path("/tmp").glob(f"hsperfdata_*/{running[0].pid}"))
    finally:
        adapter.close()
    assert running
    assert psutil.wait_procs(running, timeout=10)[1] == []


def threads_of(framework: str) -> int:
    """Return the number of threads that the running engine reports."""
    if framework == "h2o":
        import h2o

        return h2o.cluster().nodes[0]["nthreads"]
    from pyspark import SparkContext

    return SparkContext.getOrCreate().defaultParallelism


@pytest.mark.parametrize("framework", JVM)
def test_a_jvm_that_cannot_start_is_an_error_and_leaves_no_process(framework: str, tmp_path: Path) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    with registry.FRAMEWORKS[framework].create() as adapter, pytest.raises(Exception, match=r".+"):
        adapter.start(Resources(1, 1024, tmp_path))  # too small a heap
    assert javas() == []


@pytest.mark.parametrize("framework", JVM)
def test_data_in_a_hidden_folder_can_be_read(framework: str, flowers_10_000: Path, tmp_path: Path) -> None:
    shutil.copytree(flowers_10_000, tmp_path / ".cache" / "my flowers")
    with start(framework, tmp_path) as adapter:
        adapter.load(tmp_path / ".cache" / "my flowers")


def test_spark_compiles_no_code_for_further_tables_if_memory_must_be_constant(
    flowers_10_000: Path, tmp_path: Path
) -> None:
    if reason := missing("spark"):
        pytest.skip(reason)
    from adapters.spark_mllib import Spark

    with Spark() as adapter:
        adapter.start(Resources(1, GIB, tmp_path, constant_memory=True))
        assert adapter._spark
        jvm: Any = adapter._spark.sparkContext._jvm
        compilations = jvm.org.apache.spark.metrics.source.CodegenMetrics.METRIC_COMPILATION_TIME()
        counts = []
        for _ in range(2):
            adapter.release(adapter.load(flowers_10_000))
            counts.append(compilations.getCount())
        assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("framework", JVM)
def test_the_jvm_exits_with_a_killed_python(framework: str, tmp_path: Path) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    script = f"""
import sys, pathlib
from adapters import registry
from adapters.base import Resources
adapter = registry.FRAMEWORKS["{framework}"].create()
adapter.start(Resources(1, {GIB}, pathlib.Path("{tmp_path}")))
print("started", flush=True)
sys.stdin.read()
"""
    python = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert python.stdout is not None
    assert any(line.strip() == "started" for line in python.stdout)
    running = [child for child in psutil.Process(python.pid).children(recursive=True) if child.name() == "java"]
    assert running
    python.kill()
    python.wait()
    assert psutil.wait_procs(running, timeout=10)[1] == []
    python.stdout.close()


DEEP = ("--model", "deep", "--track", "default", "--data", ROOT / "datasets" / "iris.csv", "--output")


@pytest.mark.parametrize("framework", ["scikit-learn", "pytorch-cpu", "tensorflow-cpu", "h2o"])
def test_deep_can_be_trained(framework: str, command: Command, tmp_path: Path) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    done = command("adapters", "train", "--framework", framework, *DEEP, tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.json").exists()


def test_spark_gives_the_reason_why_it_does_not_support_deep(command: Command, tmp_path: Path) -> None:
    if reason := missing("spark"):
        pytest.skip(reason)
    assert "no ReLU" in one_line(command("adapters", "train", "--framework", "spark", *DEEP, tmp_path / "model"))


def test_listing_imports_no_framework() -> None:
    script = (
        "import sys\n"
        "from adapters import registry\n"
        "[row.missing() for row in registry.FRAMEWORKS.values()]\n"
        "heavy = {'sklearn', 'torch', 'tensorflow', 'keras', 'h2o', 'pyspark'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("framework", ["scikit-learn", "pytorch-cpu", "tensorflow-cpu", "h2o", "spark"])
def test_a_framework_cannot_import_the_others(framework: str) -> None:
    if reason := missing(framework):
        pytest.skip(reason)
    row = registry.FRAMEWORKS[framework]
    others = {module for other in registry.FRAMEWORKS.values() if other.group != row.group for module in other.modules}
    script = (
        "import sys\n"
        "from adapters import registry\n"
        f"registry.hide_others({framework!r})\n"
        f"registry.FRAMEWORKS[{framework!r}].create()\n"
        f"others = [name for name in {sorted(others - {'numpy'})!r} if name in sys.modules]\n"
        "sys.exit(f'imported: {others}' if others else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reason_for_a_missing_module_says_how_to_install_it() -> None:
    row = registry.Framework("adapters.nowhere:Nothing", ("no_such_module",), "nowhere", "nowhere", "none")
    assert row.missing() == (
        "no_such_module is not installed. Type: uv pip install --group nowhere --constraints constraints.txt"
    )


def test_an_import_error_inside_an_adapter_is_raised_unchanged() -> None:
    row = registry.Framework("adapters.nowhere:Nothing", ("numpy",), "nowhere", "nowhere", "none")
    with pytest.raises(ModuleNotFoundError, match=r"adapters\.nowhere"):
        row.create()


@pytest.mark.parametrize("framework", ["h2o", "spark"])
def test_the_reason_for_missing_java_says_how_to_install_it(framework: str, command, tmp_path: Path) -> None:
    done = command("adapters", "list", PATH=str(tmp_path), JAVA_HOME="")
    [line] = [line for line in done.stdout.splitlines() if line.startswith(f"│ {framework} ")]
    assert "Java is not installed" in line
    assert "openjdk-17-jre-headless" in done.stdout


def test_exhausted_memory_is_recognised_in_errors_and_logs(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("Terminating due to java.lang.OutOfMemoryError: Java heap space\n")
    assert exhausted_memory(ConnectionError("the server has gone"), log) == "Java heap"
    assert exhausted_memory(ConnectionError("the server has gone"), None) is None
    assert exhausted_memory(MemoryError(), None) == "host"
    assert exhausted_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), None) == "CUDA"
