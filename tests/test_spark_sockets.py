"""Other users of the machine reach only ports of Spark that require a secret, and cannot disturb a case."""

from __future__ import annotations

import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapters.base import Resources
from benchmarks import case_data
from benchmarks.cases import Case, Limits
from benchmarks.results.records import PHASES
from benchmarks.supervision import supervisor
from tests import stranger
from tests.conftest import missing

GIB = 1 << 30

SCAN = """
import socket, sys
held = []
for number, line in enumerate(sys.stdin):
    try:
        client = socket.create_connection(("127.0.0.1", int(line)), 1)
        if number % 3:
            client.sendall(bytes(range(256)) if number % 3 == 1 else b"\\0" * 7 + b"\\x08" + b"garbage")
        held.append(client)
        print(line, end="", flush=True)
    except OSError:
        pass
    for client in held[:-100]:
        client.close()
    del held[:-100]
"""
"""Connect to every port on standard input, send nothing or garbage, and keep the last 100 connections open."""

CALL = """
import socket, sys
for port in sys.argv[1:]:
    with socket.create_connection(("127.0.0.1", int(port)), 5) as client:
        client.settimeout(5)
        try:
            client.sendall(b"c\\nz:java.lang.System\\ngetProperty\\nsuser.name\\ne\\n")
            print(client.recv(1000))
        except OSError:
            print(b"")
"""
"""Ask every port for a Java property in the protocol of Py4J, without its secret."""


@pytest.fixture(autouse=True)
def spark() -> None:
    if reason := missing("spark"):
        pytest.skip(reason)


class Scanner:
    """Connect to all ports of the descendants of this process as another user while the block runs."""

    def __enter__(self) -> Scanner:
        other = stranger.account()
        self._process = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", SCAN],
            user=other.pw_uid,
            group=other.pw_gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._over = threading.Event()
        self._scan = threading.Thread(target=self._run)
        self._scan.start()
        return self

    def _run(self) -> None:
        assert self._process.stdin
        while not self._over.is_set():
            for listener in stranger.listeners(psutil.Process()):
                self._process.stdin.write(f"{listener.port}\n")
            self._process.stdin.flush()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._scan.join()
        self.connections = self._process.communicate()[0].split()


def test_a_scan_of_all_ports_does_not_disturb_a_case(tmp_path: Path) -> None:
    case = Case("spark", "mlp", 150, threads=1)
    case_data.make(case.rows, case.seed)
    with Scanner() as scanner:
        record = supervisor.run(case, Limits(300, 4 * GIB, 900), tmp_path / "case", "a run")
    assert (record.outcome, record.reason) == ("ok", None)
    assert set(PHASES) <= record.phases.keys()
    assert len(set(scanner.connections)) >= 2  # the driver's RPC, the block manager, and Py4J while it starts
    assert len(scanner.connections) > 100


class TestStartedSpark:
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        from adapters.spark_mllib import Spark

        # A long path, because the path of a Unix socket has at most 107 bytes.
        folder = tmp_path_factory.mktemp("engine") / ("deep" * 30)
        folder.mkdir()
        with Spark() as adapter:
            adapter.start(Resources(1, GIB, folder))
            yield adapter

    def ports(self) -> list[int]:
        return [listener.port for listener in stranger.listeners(psutil.Process())]

    def test_only_this_user_can_enter_the_folder_of_the_sockets(self, engine: Any) -> None:
        [sockets] = engine.log.parent.glob("sockets-*")
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert [file.is_socket() for file in sockets.iterdir()] == [True]

    def test_no_secret_is_an_argument_or_in_the_log(self, engine: Any) -> None:
        context = engine._spark.sparkContext
        hadoop = context._jvm.org.apache.hadoop
        credentials = hadoop.security.UserGroupInformation.getCurrentUser().getCredentials()
        cookie = bytes(credentials.getSecretKey(hadoop.io.Text("sparkCookie"))).decode()
        secrets = [context._gateway.gateway_parameters.auth_token, cookie]
        visible = engine.log.read_text() + "".join(
            " ".join(process.cmdline())
            for process in psutil.Process().children(recursive=True)
            if process.status() != psutil.STATUS_ZOMBIE
        )
        assert "spark.authenticate=true" in visible
        assert not [secret for secret in secrets if len(secret) < 32 or secret in visible]

    def test_py4j_executes_no_call_without_its_secret(self, engine: Any) -> None:
        answers = stranger.run(CALL, *self.ports()).stdout.splitlines()
        assert len(answers) == 2  # the driver's RPC and the block manager
        assert not [answer for answer in answers if answer.startswith("b'!y")]

    def test_the_driver_ignores_messages_without_the_secret(self, engine: Any) -> None:
        context = engine._spark.sparkContext
        spark = context._jvm.org.apache.spark
        conf = spark.SparkConf(False).set("spark.rpc.lookupTimeout", "5s")
        none, entry = (getattr(spark.SecurityManager, f"$lessinit$greater$default${number}")() for number in (2, 3))
        manager = spark.SecurityManager(conf, none, entry)
        client = spark.rpc.RpcEnv.create("stranger", "127.0.0.1", 0, conf, manager, True)
        driver = spark.rpc.RpcAddress("127.0.0.1", int(context._conf.get("spark.driver.port")))
        try:
            with pytest.raises(Exception, match=r"awaitResult"):
                client.setupEndpointRef(driver, "LocalSchedulerBackendEndpoint").send(
                    getattr(getattr(spark.scheduler.local, "StopExecutor$"), "MODULE$")
                )
        finally:
            client.shutdown()
        assert engine._spark.range(3).count() == 3
