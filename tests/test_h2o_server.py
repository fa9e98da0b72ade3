"""H2O's server is safe from other users of the machine, from a full disk, and from killed processes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import h2o
import psutil
import pytest

from adapters import registry
from adapters.base import Resources
from benchmarks import case_data
from benchmarks.cases import Case, Limits
from benchmarks.results.records import Record
from benchmarks.supervision import supervisor
from datasets import store
from datasets.flowers import real_flowers
from tests import stranger
from tests.conftest import ROOT, missing

GIB = 1 << 30

REQUESTS = """
import base64, http.client, json, sys
port, target, model, frame = int(sys.argv[1]), *sys.argv[2:]
wrong = "Basic " + base64.b64encode(b"user:password").decode()
requests = [
    ("GET", "/"), ("GET", "/3/Cloud"), ("GET", "/3/Logs/download"), ("GET", "/flow/index.html"),
    ("POST", "/3/PostFile?destination_frame=theirs"), ("POST", "/3/ParseSetup?source_frames=theirs"),
    ("GET", "/3/ImportFiles?path=/etc/passwd"), ("POST", "/3/Parse?source_frames=theirs&destination_frame=theirs.hex"),
    ("POST", f"/3/Frames/{frame}/export?path={target}&force=true"),
    ("GET", f"/99/Models.bin/{model}?dir={target}&force=true"), ("DELETE", f"/3/Models/{model}"),
    ("POST", "/99/Rapids?ast=(ls)"), ("DELETE", "/3/DKV"), ("POST", "/3/Shutdown"),
]
answers = {}
for secret in ({}, {"Authorization": wrong}):
    for method, path in requests:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, body="a,b\\n1,2\\n" if method == "POST" else None, headers=secret)
        answers[f"{method} {path} {bool(secret)}"] = connection.getresponse().status
        connection.close()
print(json.dumps(answers))
"""
"""Send requests to H2O's REST port without a secret and with a wrong one, and print their status codes."""

SCAN = """
import json, socket, sys
open_sockets = []
for address, port in json.loads(sys.argv[1]):
    for content in (b"", b"GET / HTTP/1.0\\r\\n\\r\\n", bytes(range(256)) * 64, b"\\x16\\x03\\x01\\x02\\x00"):
        try:
            peer = socket.create_connection((address, port), timeout=1)
            peer.sendall(content)
            peer.close()
            half_open = socket.create_connection((address, port), timeout=1)
            half_open.sendall(content[:3])
            open_sockets.append(half_open)
        except OSError:
            pass
print("scanned", flush=True)
sys.stdin.read()
"""
"""Connect, send garbage, and keep connections open until standard input closes."""

SHUTDOWN = """
import socket, struct, sys
port, name = int(sys.argv[1]), sys.argv[2]
name_hash = 0
for letter in name:
    name_hash = (31 * name_hash + ord(letter)) & 0xFFFFFFFF
packet = bytes([2]) + struct.pack("=H", port) + bytes([42, 2]) + struct.pack("=I", name_hash) + bytes(8)
peer = socket.create_connection(("127.0.0.1", port), timeout=5)
peer.settimeout(2)
peer.sendall(bytes([1, 0, 0]) + b"\\xef" + struct.pack("=H", len(packet)) + packet + b"\\xef")
try:
    peer.recv(1)
except OSError:
    pass
"""
"""Ask H2O to shut down, in the protocol between its nodes."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Start a server with the real flowers and a model."""
    if reason := missing("h2o"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("engine")
    flowers, species = real_flowers()
    store.write(folder / "flowers.parquet", flowers, species)
    with registry.FRAMEWORKS["h2o"].create() as adapter:
        adapter.start(Resources(1, GIB, folder))
        [jvm] = [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]
        table = adapter.load(folder / "flowers.parquet")
        model = adapter.train(table, adapter.recipe("logistic", 150), seed=0)
        yield SimpleNamespace(adapter=adapter, folder=folder, jvm=jvm, table=table, model=model)


def works(engine: SimpleNamespace) -> bool:
    """Return whether the server still has its table and its model, and can train."""
    labels = engine.adapter.predict(engine.model, engine.table)
    again = engine.adapter.train(engine.table, engine.adapter.recipe("logistic", 150), seed=0)
    return labels.tolist() == engine.adapter.predict(again, engine.table).tolist()


def api_port() -> int:
    return int(h2o.connection().base_url.rpartition(":")[2])


def test_every_request_of_another_user_is_denied(engine: SimpleNamespace, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "written"
    done = stranger.run(REQUESTS, api_port(), target, engine.model.model_id, engine.table.frame_id)
    answers = json.loads(done.stdout)
    assert {request: status for request, status in answers.items() if status not in (401, 403)} == {}
    assert not target.exists()
    assert works(engine)


def test_another_user_cannot_read_the_login(engine: SimpleNamespace) -> None:
    login = engine.folder / "h2o" / "login"
    assert stat.S_IMODE(login.stat().st_mode) == 0o600
    assert stat.S_IMODE(login.parent.stat().st_mode) == 0o700
    secrets = login.read_text().strip().split(": ")
    shown = [*engine.jvm.cmdline(), *engine.jvm.environ().values(), (engine.folder / "h2o.log").read_text()]
    shown += [path.read_text(errors="replace") for path in (login.parent / "logs").iterdir()]
    assert len(secrets) == 2 and all(len(secret) == 32 for secret in secrets)
    assert not [text for text in shown if any(secret in text for secret in secrets)]


def test_h2o_listens_on_loopback_only_and_survives_a_scan_of_every_port(engine: SimpleNamespace) -> None:
    listeners = stranger.listeners(engine.jvm)
    assert {listener.protocol for listener in listeners} == {"tcp"}
    assert {listener.address.removeprefix("::ffff:") for listener in listeners} == {"127.0.0.1"}
    ports = json.dumps([("127.0.0.1", listener.port) for listener in listeners])
    log = engine.folder / "h2o.log"
    assert "scanned" in stranger.run(SCAN, ports).stdout
    assert works(engine)
    assert log.stat().st_size < 1_000_000
    assert engine.jvm.cpu_percent(interval=1.0) < 50, "a closed connection keeps H2O busy"


def test_another_user_cannot_stop_h2o_as_one_of_its_nodes(engine: SimpleNamespace) -> None:
    name = engine.jvm.cmdline()[engine.jvm.cmdline().index("-name") + 1]
    stranger.run(SHUTDOWN, api_port() + 1, name)
    assert works(engine)


def test_h2o_denies_the_paths_on_its_list(engine: SimpleNamespace, tmp_path: Path) -> None:
    hidden = tmp_path / ".ssh" / "keys.csv"
    hidden.parent.mkdir()
    hidden.write_text("a,b\n1,2\n")
    for path in ("/etc/passwd", "/usr/x", "/var/x", hidden):
        with pytest.raises(Exception, match=r"(?i)denied"):
            h2o.import_file(str(path))


def test_files_in_hidden_folders_can_be_read_and_written(engine: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "my flowers"
    folder.mkdir(parents=True)
    shutil.copy(engine.folder / "flowers.parquet", folder / "part-0.parquet")
    table = engine.adapter.load(folder)
    labels = engine.adapter.predict(engine.model, table).tolist()
    engine.adapter.save(engine.model, folder)
    assert (folder / "model.h2o").is_file()
    assert engine.adapter.predict(engine.adapter.restore(folder), table).tolist() == labels


def children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_a_case_succeeds_while_another_user_scans_its_ports(tmp_path: Path) -> None:
    if reason := missing("h2o"):
        pytest.skip(reason)
    stranger.account()
    command = [sys.executable, "-m", "benchmarks", "run", "--framework", "h2o", "--model", "logistic"]
    command += ["--rows", "150", "--track", "tuned", "--launches", "1", "--output", str(tmp_path / "run")]
    with (tmp_path / "log").open("w") as log:
        running = psutil.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)})
    family: set[psutil.Process] = set()
    scanned: set[int] = set()
    while True:
        family.update(children_of(running))
        if new := {listener.port for listener in stranger.listeners(running)} - scanned:
            stranger.run(SCAN, json.dumps([("127.0.0.1", port) for port in new]))
            scanned |= new
        try:
            running.wait(timeout=0.2)
            break
        except psutil.TimeoutExpired:
            continue
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert [record["outcome"] for record in records] == ["ok"], (tmp_path / "log").read_text()
    assert len(scanned) >= 2
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.parametrize("killed", ["java", "python"])
def test_a_case_ends_with_a_reason_when_one_of_its_processes_is_killed(killed: str, tmp_path: Path) -> None:
    if reason := missing("h2o"):
        pytest.skip(reason)
    rows = 100_000
    case_data.make(rows, 0)
    before = set(psutil.Process().children(recursive=True))
    family: set[psutil.Process] = set()

    def kill(phase: str | None) -> None:
        if phase == "train" and not family:
            family.update(set(psutil.Process().children(recursive=True)) - before)
            for process in family:
                if process.name().startswith(killed):
                    process.kill()

    record = supervised(Case("h2o", "mlp", rows), tmp_path / "case", kill)
    assert len(family) == 2
    assert not [process for process in family if process.is_running()]
    assert record.outcome == "failed"
    assert record.phase == "train"
    reasons = {
        "java": "RuntimeError: H2O's server ended with signal SIGKILL",
        "python": "another program killed the process with signal 9",
    }
    assert reasons[killed] in str(record.reason)


def supervised(case: Case, folder: Path, on_phase: Callable[[str | None], None]) -> Record:
    return supervisor.run(case, Limits(300.0, 4 * GIB), folder, "a run", on_phase=on_phase)


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare, which mounts a small disk, is missing")
@pytest.mark.parametrize("size", ["4k", "32k"])
def test_a_full_temporary_folder_ends_a_command_with_one_line(size: str, tmp_path: Path) -> None:
    if reason := missing("h2o"):
        pytest.skip(reason)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; run the tests as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    train = [sys.executable, "-m", "adapters", "train", "--framework", "h2o", "--model", "logistic"]
    train += ["--data", str(ROOT / "datasets" / "iris.csv"), "--output", str(tmp_path / "model")]
    mount = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", size, str(disk), *train],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(disk)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr
