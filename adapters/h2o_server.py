"""Start H2O's server: a JVM on 127.0.0.1 that only this process can use, and that exits with it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from h2o.backend import H2OConnection
from h2o.exceptions import H2OConnectionError

from adapters import exit_with_parent, java
from adapters.base import Resources
from adapters.errors import Unavailable
from interrupts import uninterrupted

DENIED = "/bin/*,/etc/*,/var/*,/usr/*,/proc/*"
HIDDEN_NAMES = "**/.**"
"""Together the paths that H2O refuses to read and write by default.

The login protects the files of the user. The list only stops mistaken paths: H2O compares it with the path as given, so
it accepts a path two levels below one of these folders, and a symbolic link to any place.
"""

NOBODY = "nobody"
"""The password of an empty key store. It need not be secret."""


class Server:
    """A server of one node. `login` is the user name and password that it requires."""

    def __init__(self, resources: Resources) -> None:
        """Raise Unavailable if Java is missing."""
        if reason := java.missing():
            raise Unavailable(reason)
        self.log = resources.folder / "h2o.log"
        self.login = secrets.token_hex(16), secrets.token_hex(16)
        self._resources = resources
        self._links = resources.folder.resolve() / "h2o" / "links"
        self._jvm: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the JVM on a free port and return its URL."""
        folder = self._resources.folder.resolve()
        hidden = any(name.startswith(".") for name in folder.parts)
        command = [
            *java.command(self._resources),
            "-Dsys.ai.h2o.telemetry.disabled=true",
            # This extension would unpack a library of 157 MB at each start.
            "-Dsys.ai.h2o.ext.core.toggle.XGBoost=False",
            # This extension would read the configuration of Hadoop for a login that is not used here.
            "-Dsys.ai.h2o.ext.core.toggle.KrbStandalone=False",
            *("-jar", str(files("h2o") / "backend" / "bin" / "h2o.jar"), "-allow_unsupported_java"),
            *("-ip", "127.0.0.1", "-web_ip", "127.0.0.1"),
            # A server whose own folder is hidden must read hidden paths.
            *("-file_deny_glob", f"{{{DENIED}}}" if hidden else f"{{{DENIED},{HIDDEN_NAMES}}}"),
            *("-name", f"irisbench-{uuid.uuid4()}", "-nthreads", str(self._resources.threads)),
            # Relative to the working folder of the server, because H2O accepts no path with a space.
            *("-ice_root", "h2o", "-log_dir", "h2o/logs"),
            *_security_options(folder / "h2o", *self.login),
        ]
        self._links.mkdir(exist_ok=True)
        with self.log.open("wb") as log, uninterrupted():
            self._jvm = exit_with_parent.start(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        # The function h2o.init of the client waits for this line, too.
        while not (
            started := re.search(r"Open H2O Flow in your web browser: (\S+)\s", self.log.read_text(errors="replace"))
        ):
            if self._jvm.poll() is not None:
                raise _ended(self._jvm)
            if not shutil.disk_usage(folder).free:  # the line would never come
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
            time.sleep(0.02)
        return started[1]

    def watch(self, connection: H2OConnection) -> None:
        """Make requests fail with a reason as soon as the server has exited. The client would retry for 90 s."""
        connection.request = self._watched(connection.request)

    def _watched(self, request: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            try:
                return request(*arguments, **options)
            except H2OConnectionError as error:
                if self._jvm is not None:
                    try:
                        self._jvm.wait(timeout=1)  # its sockets close just before it ends
                    except subprocess.TimeoutExpired:
                        raise error from None
                    raise _ended(self._jvm) from error
                raise

        return watched

    @contextmanager
    def names(self, *paths: Path) -> Iterator[list[str]]:
        """Yield paths by which the server may use these files: links in its own folder, which is not on the list."""
        with tempfile.TemporaryDirectory(dir=self._links) as folder:
            links = [Path(folder, f"{number}{path.suffix}") for number, path in enumerate(paths)]
            for link, path in zip(links, paths, strict=True):
                link.symlink_to(path.resolve())
            yield [str(link) for link in links]

    def end(self) -> None:
        """Kill the server. May be called twice."""
        if self._jvm is not None:
            jvm, self._jvm = self._jvm, None
            exit_with_parent.end(jvm)


def _ended(jvm: subprocess.Popen[bytes]) -> RuntimeError:
    """Return an error that says how the server exited."""
    code = jvm.returncode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return RuntimeError(f"H2O's server ended with {how}")


def _security_options(folder: Path, user: str, password: str) -> list[str]:
    """Write the files that restrict a server to `user`, and return the options that name them.

    `folder` is h2o/ in the server's working folder; only its owner can access it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    contents = {
        "login": f"{user}: {password}\n".encode(),
        # An empty list of other nodes. Without it, H2O searches for nodes by UDP from a socket on all interfaces.
        "flatfile": b"",
        # The port for other nodes requires a certificate and trusts none, so no handshake succeeds.
        "nobody.jks": _empty_key_store(NOBODY),
        "internal": f"h2o_ssl_jks_internal=h2o/nobody.jks\nh2o_ssl_jks_password={NOBODY}\n".encode(),
    }
    for name, content in contents.items():
        with open(folder / name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)
    return [
        *("-hash_login", "-login_conf", "h2o/login"),
        *("-flatfile", "h2o/flatfile"),
        *("-internal_security_conf", "h2o/internal"),
    ]


def _empty_key_store(password: str) -> bytes:
    """Return a Java key store (format JKS, version 2) without any key or certificate."""
    content = struct.pack(">III", 0xFEEDFEED, 2, 0)
    return content + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + content).digest()
