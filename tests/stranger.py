"""Another user of the same machine: a real second account, and the sockets that a process tree opens."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass

import psutil
import pytest

ACCOUNT = "irisbench-stranger"


@dataclass(frozen=True)
class Listener:
    """A socket that accepts connections (TCP) or datagrams (UDP)."""

    protocol: str
    address: str
    port: int
    pid: int


def account() -> pwd.struct_passwd:
    """Return the second account, created if it is missing. Without root the test is skipped."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as a second account; run the tests as root")
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT], check=True)
        return pwd.getpwnam(ACCOUNT)


def run(code: str, *arguments: object, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run Python code (standard library only) as the second account and return what it printed."""
    other = account()
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    return subprocess.run(
        [python, "-I", "-c", code, *map(str, arguments)],
        user=other.pw_uid,
        group=other.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def listeners(root: psutil.Process) -> list[Listener]:
    """Return every TCP and UDP socket on which `root` or one of its descendants accepts anything."""
    sockets = []
    for process in [root, *root.children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            protocol = "tcp" if connection.type == 1 else "udp"
            if connection.status == psutil.CONN_LISTEN or (protocol == "udp" and not connection.raddr):
                sockets.append(Listener(protocol, connection.laddr.ip, connection.laddr.port, process.pid))
    return sockets
