"""The class: its notebooks run, its exercises say what is wrong, and Jupyter serves it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import nbformat
import numpy as np
import psutil
import pytest
import torch
import zmq
from jupyter_client import BlockingKernelClient
from nbclient.exceptions import CellExecutionError
from torch import nn

from datasets.flowers import SPECIES
from tests import stranger
from tests.conftest import missing
from workshop import checks, own_framework
from workshop.__main__ import GUIDE, HERE, NEEDS, SOURCES, copied, execute, guide, made, runtime_folder
from workshop.checks import NotYet


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project, in which the notebooks may write any file."""
    return copied(tmp_path_factory.mktemp("class"))


WITHOUT_NETWORK = """
import sys

def refuse(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"there is no network to reach {host}")

sys.addaudithook(refuse)
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> str:
    """Return a PYTHONPATH that limits Python's connections to this computer."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "sitecustomize.py").write_text(WITHOUT_NETWORK)
    return f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@pytest.fixture(autouse=True)
def without_network(offline, monkeypatch):
    """Limit the connections of every Python process that the notebooks start to this computer."""
    monkeypatch.setenv("PYTHONPATH", offline)


def test_a_notebook_that_uses_the_network_fails(copy):
    notebook = made("example1/example1")
    notebook.cells = notebook.cells[:1]
    notebook.cells[0] = nbformat.v4.new_code_cell("import socket; socket.create_connection(('192.0.2.1', 80), 1)")
    with pytest.raises(CellExecutionError, match="there is no network to reach"):
        execute(copy, "example1/example1", notebook)


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_is_what_its_source_makes_and_has_no_outputs(name):
    assert nbformat.read(HERE / f"{name}.ipynb", as_version=4) == made(name), "type: nox -s notebooks -- sync"


def test_the_figures_of_the_guide_are_those_of_the_published_run():
    assert GUIDE.read_text() == guide(), "type: nox -s notebooks -- sync"


@pytest.mark.parametrize("name", [name for name in SOURCES if "template" not in name])
def test_a_notebook_runs_from_a_clean_kernel(copy, name):
    if reason := name in NEEDS and missing(NEEDS[name]):
        pytest.skip(str(reason))
    words = printed(execute(copy, name))
    if name.startswith("example1"):
        accuracies = re.findall(r"cross-validation: (0\.\d+)", words)
        assert len(accuracies) == 2 and all(float(accuracy) >= 0.95 for accuracy in accuracies)
        assert (copy / "workshop/example1/net.pt").exists()
    if name.startswith("more"):
        assert float(re.search(r"(\d\.\d+) of the flowers", words)[1]) >= 0.95  # type: ignore[index]
    if name.endswith("solution2"):
        assert " passed" in words and re.search(r"report: .*report\.html", words)
        assert re.search(r"^\[\d/\d\] ok +nearest-centroid logistic 10,000 rows", words, re.MULTILINE)


def gaps(notebook) -> list[int]:
    return [number for number, cell in enumerate(notebook.cells) if "gap" in cell.metadata.get("tags", [])]


@pytest.mark.parametrize(
    ("number", "hint"),
    [(1, "features is still `...`: put in its place what reads flowers.csv."), (2, "gap 1: train is still `...`")],
)
def test_a_template_fails_at_its_first_gap_with_its_hint_and_passes_with_the_solution(copy, number, hint):
    name = f"exercise{number}/template{number}"
    if not (copy / "workshop/example1/net.pt").exists():
        execute(copy, "example1/example1")
    template, solution = made(name), made(f"exercise{number}/solution{number}")
    assert len(gaps(template)) == len(gaps(solution)) > 0
    assert not any("gap:" in cell.source or "end of gap" in cell.source for cell in solution.cells + template.cells)
    with pytest.raises(CellExecutionError) as told:
        execute(copy, name, template)
    assert hint in str(told.value) + printed(template)
    filled = made(name)
    for ours, theirs in zip(gaps(filled), gaps(solution), strict=True):
        assert "..." in filled.cells[ours].source
        filled.cells[ours].source = solution.cells[theirs].source
    execute(copy, name, filled)


class Net(nn.Module):
    """A network that predicts all three species."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(4, 3)
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([[0.0, 1, -2, -2], [0, 0, 0.2, -0.6], [-0.5, 0, 0.55, 1]])
            self.layer.bias[:] = torch.tensor([6.0, 1.5, 0.0])

    def forward(self, x):
        return self.layer(x)


NET = Net().eval()
RIGHT = torch.from_numpy(checks._truth())
with torch.inference_mode():
    LOGITS = NET(RIGHT)
NAMES = [SPECIES[code] for code in LOGITS.argmax(dim=1).tolist()]

WRONG_FEATURES = [
    (..., "is still `...`"),
    (RIGHT.numpy(), "is a ndarray; a network wants a tensor"),
    (RIGHT.tolist(), "is a list; a network wants a tensor"),
    (RIGHT.T, "a flower is a column"),
    (torch.cat([torch.arange(30.0)[:, None], RIGHT], dim=1), "Which columns of the file are measurements?"),
    (RIGHT[1:], "Is the first line a flower?"),
    (RIGHT.double(), "the weights are of torch.float32"),
    (RIGHT[:, [2, 3, 0, 1]], "stand in another order than in training"),
    (RIGHT.flip(0), "the flowers stand in another order"),
    ((RIGHT - RIGHT.mean(0)) / RIGHT.std(0), "scaled already"),
    (RIGHT * 10, "in mm"),
    (RIGHT.index_fill(1, torch.tensor([3]), 1.0), "Which column came from where?"),
]
WRONG_LOGITS = [
    (..., "is still `...`"),
    (LOGITS.numpy(), "a network that is called with a tensor gives a tensor"),
    (NET(RIGHT), "gradient tracking is left on"),
    (LOGITS.argmax(dim=1), "these are classes already"),
    (LOGITS.max(dim=1).values, "such as the largest logit"),
    (LOGITS.log_softmax(dim=1), "logarithms of probabilities"),
    (LOGITS.T, "turn it round"),
    (LOGITS[0], "the logits of one flower"),
    (LOGITS[:7], "should have (30, 3)"),
    (LOGITS.softmax(dim=1), "softmax has been applied. The gap"),
    (LOGITS.softmax(dim=0), "over the flowers instead of the species"),
    (LOGITS + 1, "the trained network says something else"),
]
WRONG_NAMES = [
    (..., "is still `...`"),
    (LOGITS.argmax(dim=1), "the codes of the species"),
    (LOGITS, "such as logits"),
    (LOGITS.argmax(), "one number for all flowers"),
    (LOGITS.argmax(dim=1).tolist(), "these are numbers"),
    (NAMES[0], "is a str; it should be a list"),
    ([SPECIES[code] for code in LOGITS.argmax(dim=0).clamp(max=2).tolist()], "among the flowers"),
    (NAMES[:-1], "29 names and 30 flowers"),
    ([SPECIES[(code + 1) % 3] for code in LOGITS.argmax(dim=1).tolist()], "shifted or swapped"),
    ([name.capitalize() for name in NAMES], "in small letters"),
    ([f"Iris-{name}" for name in NAMES], "is no species that the network was taught"),
    (["setosa"] * 30, "every flower is called setosa"),
    ([("virginica" if NAMES[0] == "setosa" else "setosa"), *NAMES[1:]], "flower 1 is called"),
]


@pytest.mark.parametrize(("answer", "hint"), WRONG_FEATURES)
def test_wrong_features_get_the_hint_that_fits(answer, hint):
    with pytest.raises(NotYet, match=re.escape(hint)):
        checks.features(answer)


@pytest.mark.parametrize(("answer", "hint"), WRONG_LOGITS)
def test_wrong_logits_get_the_hint_that_fits(answer, hint):
    with pytest.raises(NotYet, match=re.escape(hint)):
        checks.logits(answer, NET)


@pytest.mark.parametrize(("answer", "hint"), WRONG_NAMES)
def test_wrong_names_get_the_hint_that_fits(answer, hint):
    with pytest.raises(NotYet, match=re.escape(hint)):
        checks.names(answer, NET)


def solved() -> str:
    """Return the adapter of exercise 2, as its solution writes it."""
    solution = made("exercise2/solution2")
    return solution.cells[gaps(solution)[0]].source.partition("\n")[2]


MEANS = "np.stack([table.features[table.species == code].mean(axis=0) for code in range(3)])"
DISTANCES = "((features[:, None, :] - model) ** 2).sum(axis=2)"
NEAREST = "self._distances(model, table.features).argmin(axis=1).astype(np.int8)"
SHARES = "nearness / nearness.sum(axis=1, keepdims=True)"
ONE = "int(((model - flower) ** 2).sum(axis=1).argmin())"
SAVED = '(folder / "averages.json").write_text(json.dumps(model.tolist()))'
RESTORED = 'np.array(json.loads((folder / "averages.json").read_text()), dtype=np.float32)'
WRONG_ADAPTERS = [
    (1, MEANS, f"{MEANS}.T", "turn them round, a species is a row"),
    (1, MEANS, "table.features.mean(axis=0)", "one average flower of all"),
    (1, MEANS, MEANS.replace("axis=0", ""), "one number for each species"),
    (1, MEANS, f"{MEANS}.tolist()", "train returns a list"),
    (1, MEANS, MEANS.replace("mean", "sum"), "these are sums"),
    (1, MEANS, "np.median(table.features.reshape(3, 50, 4), axis=1)", "these are medians"),
    (1, MEANS, MEANS.replace("range(3)", "(2, 0, 1)"), "another order than the codes"),
    (1, MEANS, f"{MEANS} * 10", "not the averages of the three species in cm"),
    (1, MEANS, "np.zeros(3) / nothing", "train ends with NameError"),
    (2, DISTANCES, f"{DISTANCES}.T", "a flower is a row"),
    (2, DISTANCES, DISTANCES.replace("axis=2", "axis=1"), "should have (150, 3)"),
    (2, DISTANCES, "(features[:, None, :] - model).sum(axis=2)", "some distances are negative"),
    (2, NEAREST, NEAREST.replace("argmin", "argmax"), "farthest away"),
    (2, NEAREST, NEAREST.replace(".astype(np.int8)", ""), "the contract wants int8"),
    (2, NEAREST, NEAREST.replace("axis=1", "axis=0"), "one code for each of 150 flowers"),
    (2, SHARES, "nearness", "sum to 1"),
    (2, SHARES, "nearness / nearness.sum(axis=0)", "sum to 1"),
    (2, SHARES, f"({SHARES}).astype(np.float64)", "wants float32"),
    (2, SHARES, "distances / distances.sum(axis=1, keepdims=True)", "mind the sign"),
    (2, ONE, ONE.replace("int(", "(", 1), "a plain int"),
    (2, ONE, "0", "predict_one says 0"),
    (3, SAVED, "None", "wrote nothing"),
    (3, SAVED, 'Path("averages.json").write_text(json.dumps(model.tolist()))', "beside the notebook"),
    (3, SAVED, '__import__("pickle").dump(model, (folder / "averages.json").open("wb"))', "this is a pickle"),
    (3, RESTORED, RESTORED.replace("np.array(", "(").replace(", dtype=np.float32", ""), "train gave an array"),
    (3, RESTORED, RESTORED.replace(", dtype=np.float32", ""), "it would predict otherwise"),
    (3, RESTORED, f"{RESTORED}.round(1)", "to the last digit"),
    (3, RESTORED, f"{RESTORED}.ravel()", "gives the shape (12,)"),
    (3, RESTORED, RESTORED.replace("averages.json", "model.json"), "restore ends with FileNotFoundError"),
]  # fmt: skip


@pytest.mark.parametrize(("gap", "right", "wrong", "hint"), WRONG_ADAPTERS)
def test_a_wrong_adapter_gets_the_hint_that_fits(gap, right, wrong, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = solved()
    assert source.count(right) == 1
    with pytest.raises(NotYet, match=re.escape(hint)) as told:
        own_framework.try_out(source.replace(right, wrong), "NearestCentroid")
    assert str(told.value).startswith(f"gap {gap}: ")


def test_a_right_adapter_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_framework.try_out(solved(), "NearestCentroid")
    own_framework.try_out(solved().replace(DISTANCES, f"np.sqrt({DISTANCES})"), "NearestCentroid")


def test_right_answers_of_several_kinds_pass():
    assert set(NAMES) == set(SPECIES)
    checks.features(RIGHT)
    checks.logits(LOGITS, NET)
    checks.names(NAMES, NET)
    checks.names(tuple(NAMES), NET)
    checks.names(np.array(NAMES), NET)


def test_a_hint_stands_alone():
    assert NotYet("turn it round")._render_traceback_() == ["Not yet: turn it round"]


def test_the_error_for_a_missing_network_says_what_to_run(tmp_path):
    with pytest.raises(NotYet, match=r"Run example1/example1\.ipynb"):
        checks.there(tmp_path / "net.pt")
    torch.save(nn.ModuleDict({"hidden": nn.Linear(4, 200)}).state_dict(), tmp_path / "net.pt")
    with pytest.raises(NotYet, match="has 200 hidden units: set 16"):
        checks.there(tmp_path / "net.pt")


@pytest.fixture(scope="module")
def jupyter(copy: Path, tmp_path_factory, offline):
    """Start the server on the copy as `nox -s workshop` does. Yield it, its address and its runtime folder."""
    folder = tmp_path_factory.mktemp("jupyter")
    log = folder / "jupyter.log"
    runtime = Path(tempfile.mkdtemp(prefix="jupyter-", dir="/tmp"))  # short enough for the names of sockets
    runtime.chmod(0o755)
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "workshop", "serve", "--no-browser", "--port=0", "--allow-root"],
            cwd=copy,
            env=os.environ
            | {
                "JUPYTER_CONFIG_DIR": str(folder),  # where Jupyter stores the open tabs
                "JUPYTER_RUNTIME_DIR": str(runtime),
                "PYTHONPATH": offline,
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        found = None
        for _ in range(600):
            if found := re.search(r"http://127\.0\.0\.1:\d+\S*token=\w+", log.read_text()):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        assert found, log.read_text()
        yield server, found[0], runtime
    finally:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=60)
        for process in left:
            process.kill()
        shutil.rmtree(runtime)
        assert not left, f"after Ctrl-C there are still {left}: {log.read_text()}"


STRANGER = """
import http.client, json, os, select, socket, sys
port, ports, runtime, pids, target = json.loads(sys.argv[1])
requests = [
    ("GET", "/api/contents"), ("GET", "/api/kernels"), ("POST", "/api/kernels"), ("POST", "/api/sessions"),
    ("POST", "/api/terminals"), ("PUT", "/api/contents/theirs.txt"), ("DELETE", "/api/contents/README.md"),
    ("GET", "/files/README.md"), ("GET", "/lab"), ("POST", "/api/shutdown"),
]
statuses = {}
for secret in ({}, {"Authorization": "token " + "0" * 48}):
    for method, path in requests:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, body=None if method == "GET" else "{}", headers=secret)
        answer = connection.getresponse()
        login = answer.status == 302 and "/login" in (answer.getheader("Location") or "")
        statuses[f"{method} {path} {bool(secret)}"] = 401 if login else answer.status
        connection.close()

def frame(content, flags=0):
    return bytes([flags | 2]) + len(content).to_bytes(8, "big") + content

def connect(port, kind):  # ZeroMQ's protocol
    peer = socket.create_connection(("127.0.0.1", port), timeout=5)
    peer.sendall(bytes([255, 0, 0, 0, 0, 0, 0, 0, 0, 127, 3, 0]) + b"NULL".ljust(20, bytes(1)) + bytes(32))
    peer.sendall(frame(b"\\x05READY\\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind, 4))
    return peer

def subscribe(port):
    peer = connect(port, b"SUB")
    peer.sendall(frame(bytes([1])))
    return peer

peers = []
for number in ports:
    try:
        peers.append(subscribe(number))
        peers.append(connect(number, b"DEALER"))
        header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "1", "version": "5.3"}
        content = {"code": f"open({target!r}, 'w')", "silent": False, "store_history": False, "allow_stdin": False}
        parts = [b"<IDS|MSG>", b"", json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        peers[-1].sendall(b"".join(frame(part, part is not parts[-1]) for part in parts))
    except OSError:
        pass
heard = b""
while heard.count(b"open to all") < 20:
    if not peers:  # all closed these connections; the last port is the unprotected one
        peers.append(subscribe(ports[-1]))
    for peer in select.select(peers, [], [], 5)[0]:
        try:
            part = peer.recv(65536)
        except OSError:
            part = b""
        heard += part
        if not part:
            peers.remove(peer)
try:
    listed = os.listdir(runtime)
except PermissionError:
    listed = None
shown = [open(f"/proc/{pid}/cmdline").read() for pid in pids]
print(json.dumps([statuses, heard.decode("latin-1"), listed, shown]))
"""
"""Attack Jupyter and its kernels as the second account. Print the answers, the messages and the files it could read."""


def test_another_user_reads_and_runs_nothing_in_jupyter_and_its_kernels(jupyter, copy, tmp_path):
    server, address, runtime = jupyter
    root, token = address.split("/lab")[0], address.split("token=")[1]
    tmp_path.chmod(0o777)
    target = tmp_path / "executed"
    secret = {"Authorization": f"token {token}"}
    with urlopen(Request(f"{root}/api/kernels", data=b"{}", headers=secret)) as answer:
        kernel = json.load(answer)["id"]
    client = BlockingKernelClient()
    client.load_connection_file(str(runtime / f"kernel-{kernel}.json"))
    client.start_channels(hb=False)  # a kernel that is still starting has no heartbeat
    unprotected = zmq.Context.instance().socket(zmq.PUB)  # proves that the stranger's attempt reaches such sockets
    try:
        client.wait_for_ready(timeout=60)
        process = psutil.Process(server.pid)
        family = [process.pid, *(child.pid for child in process.children(recursive=True))]
        ports = [listener.port for listener in stranger.listeners(process)]
        api = int(root.rpartition(":")[2])
        ports.append(unprotected.bind_to_random_port("tcp://127.0.0.1"))
        with ThreadPoolExecutor() as pool:
            told = json.dumps([api, [port for port in ports if port != api], str(runtime), family, str(target)])
            attempt = pool.submit(stranger.run, STRANGER, told, timeout_s=300)
            while not attempt.done():
                unprotected.send(b"open to all")
                client.execute_interactive("print('confi' + 'dential')", timeout=60, output_hook=lambda message: None)
        assert attempt.result().returncode == 0, attempt.result().stderr
        statuses, heard, listed, shown = json.loads(attempt.result().stdout)
        assert {request: status for request, status in statuses.items() if status not in (401, 403)} == {}
        assert "open to all" in heard
        assert "confidential" not in heard
        assert not target.exists()
        assert listed is None
        assert not [line for line in shown if token in line]
        assert (copy / "README.md").exists()
        assert client.execute_interactive("1", timeout=60)["content"]["status"] == "ok"
    finally:  # an open socket would keep this process from exiting
        unprotected.close(linger=0)
        client.stop_channels()
    urlopen(Request(f"{root}/api/kernels/{kernel}", headers=secret, method="DELETE")).close()


def test_a_runtime_folder_whose_path_is_too_long_for_a_socket_is_replaced_by_a_short_one(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / ("long" * 20)))
    folder = Path(runtime_folder())
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(f"{folder}/kernel-{uuid.uuid4()}-ipc-1") <= 103
    finally:
        folder.rmdir()


def test_jupyter_serves_example1_to_a_browser_which_runs_it_to_its_end(jupyter, browser, copy):
    server, address, _ = jupyter
    listening = [
        one.laddr.ip
        for process in (psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True))
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(address)
    tab.wait_for_selector(".jp-RenderedMarkdown h1", timeout=60_000)
    assert "From a notebook to production" in tab.text_content(".jp-RenderedMarkdown h1")
    root, token = address.split("/lab")[0], address.split("token=")[1]
    tab.goto(f"{root}/lab/tree/workshop/example1/example1.ipynb?token={token}")
    for _ in range(600):  # the page may show a wrong state before the kernel has started
        kernels = tab.request.get(f"{root}/api/kernels?token={token}").json()
        if [(one["execution_state"], one["connections"]) for one in kernels] == [("idle", 1)]:
            break
        tab.wait_for_timeout(100)
    tab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    (copy / "workshop/example1/net.pt").unlink(missing_ok=True)
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_text("Run All Cells", exact=True).click()
    tab.locator(".jp-OutputArea-output", has_text="net.pt is written").wait_for(timeout=90_000)
    assert (copy / "workshop/example1/net.pt").exists()
    assert not tab.locator("[data-mime-type='application/vnd.jupyter.error']").count()
