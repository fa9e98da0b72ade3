"""Start Spark's JVM. Other users cannot connect to it; it prints nothing; it exits with this process."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from py4j.java_gateway import JavaObject
from pyspark import SparkConf, SparkContext
from pyspark.find_spark_home import _find_spark_home
from pyspark.java_gateway import launch_gateway
from pyspark.serializers import UTF8Deserializer, read_int
from pyspark.sql import SparkSession

from adapters import exit_with_parent

LONGEST_SOCKET_FOLDER = 60
"""Bytes of the path. On macOS, the path of a Unix socket has at most 103 bytes, of which Spark's names take 43."""

CONNECT_S = 10.0
"""Seconds to wait for the connection of Py4J's second thread, which takes about one second."""

POLL_S = 0.01
"""Seconds between two looks at the connections."""

EXIT_S = 20.0
"""Seconds to wait for the JVM to exit by itself before it is killed."""


class Jvm:
    """A Spark session in a private JVM. `end` may be called at any time.

    Python and the JVM exchange results through Unix sockets in a folder that only this user can enter. Py4J's port
    requires a random secret. So do the ports of Spark, because of `spark.authenticate`. No secret is an argument of a
    command, because other users can read these arguments.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._gateway: Any = None
        self._session: SparkSession | None = None
        self._short_path: Path | int | None = None

    def start(self, master: str, settings: dict[str, str], log: Path, environment: dict[str, str]) -> SparkSession:
        """Start the JVM, which writes to `log`, and return its session. `environment` adds environment variables."""
        logging.getLogger().addFilter(_is_not_from_py4j)
        settings = settings | {
            "spark.python.unix.domain.socket.enabled": "true",
            "spark.python.unix.domain.socket.dir": self._socket_folder(),
        }
        if master.startswith("local"):  # Spark creates a secret; a cluster has its own, or none
            settings["spark.authenticate"] = "true"
        conf = SparkConf().setMaster(master).setAppName("irisbench").setAll(list(settings.items()))
        port, secret = self._launch(conf, log, environment)
        self._gateway = _connect(port, secret)
        # Request the second connection now. Py4J's thread that releases Java objects opens it within a second.
        self._gateway._gateway_client.garbage_collect_object("nothing")
        before = signal.getsignal(signal.SIGINT)
        self._session = SparkSession(SparkContext(conf=conf, gateway=self._gateway))
        if threading.current_thread() is threading.main_thread():
            # SparkContext has installed a handler that would call the JVM in the middle of another call.
            signal.signal(signal.SIGINT, before)
        self._close_port()
        return self._session

    def _close_port(self) -> None:
        """Close Py4J's port when both threads have connected. It reads lines of any length before the secret."""
        client = self._gateway._gateway_client
        for _ in range(round(CONNECT_S / POLL_S)):
            if len(client.deque) >= 2:
                break
            time.sleep(POLL_S)
        jvm: Any = self._gateway.jvm
        field = jvm.java.lang.Class.forName("py4j.GatewayServer").getDeclaredField("sSocket")
        field.setAccessible(True)
        field.get(JavaObject("GATEWAY_SERVER", client)).close()

    def _launch(self, conf: SparkConf, log: Path, environment: dict[str, str]) -> tuple[int, str]:
        """Start the JVM as PySpark does. Return the port and the secret, which the JVM writes to a private folder."""
        command = [os.path.join(_find_spark_home(), "bin", "spark-submit")]
        environment = os.environ | environment | {"SPARK_CONNECT_MODE": "0"}
        for name, value in conf.getAll():
            command += ["--conf", f"{name}={value}"]
        private = Path(tempfile.mkdtemp(prefix="gateway-", dir=self._folder))
        connection = private / "connection"
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [*command, "pyspark-shell"],
                    # If the kernel cannot kill the JVM with this process, the JVM exits when this pipe closes.
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=environment | {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(connection)},
                    start_new_session=True,  # so that Ctrl-C reaches Python only
                    preexec_fn=exit_with_parent.preexec(),
                )
            while not connection.exists():
                if (exit_code := self._process.poll()) is not None:
                    raise RuntimeError(f"Spark's JVM exited with code {exit_code} as it started")
                time.sleep(0.02)
            with connection.open("rb") as file:
                return read_int(file), UTF8Deserializer().loads(file)
        finally:
            shutil.rmtree(private)

    def _socket_folder(self) -> str:
        """Return a short path to a new folder inside `folder` that only this user can enter."""
        sockets = tempfile.mkdtemp(prefix="sockets-", dir=self._folder)
        if len(os.fsencode(sockets)) <= LONGEST_SOCKET_FOLDER:
            return sockets
        if Path("/proc/self/fd").is_dir():
            # A path through an open descriptor, so that the sockets are removed together with `folder`.
            self._short_path = os.open(sockets, os.O_RDONLY | os.O_DIRECTORY)
            return f"/proc/{os.getpid()}/fd/{self._short_path}"
        self._short_path = Path(tempfile.mkdtemp(prefix="irisbench-", dir="/tmp"))
        return str(self._short_path)

    def kill(self) -> None:
        """Kill the JVM without another call, because a call after an interrupted call could get the wrong answer."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """Stop the session and wait until the JVM has exited."""
        session, self._session = self._session, None
        process, self._process = self._process, None
        try:
            if session is not None and process is not None and process.poll() is None:
                with suppress(Exception), warnings.catch_warnings(action="ignore"):  # the JVM may exit in the meantime
                    session.stop()
                    self._gateway.shutdown()
        finally:
            if process is not None:
                _wait(process)
            if isinstance(self._short_path, int):
                os.close(self._short_path)
            elif self._short_path is not None:
                shutil.rmtree(self._short_path, ignore_errors=True)
            self._short_path = None
            # Otherwise PySpark would use this JVM for the next session of the process.
            SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None


def _connect(port: int, secret: str) -> Any:
    """Return PySpark's gateway to a JVM that is already running."""
    os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
    try:
        return launch_gateway()
    finally:
        del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait until the JVM has exited, and kill it if that takes longer than EXIT_S."""
    try:
        assert process.stdin
        process.stdin.close()
        process.wait(EXIT_S)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _is_not_from_py4j(record: logging.LogRecord) -> bool:
    """Drop log records of Py4J. It logs the traceback of every failed call, although the call raises an error, too."""
    return record.module != "java_gateway"
