"""Folders are replaced as a whole, even if a process is killed or fails meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets import folders
from datasets.folders import replaced_folder
from errors import BadInput

STEPS = ("open", "ctypes.dlsym", "os.", "shutil.", "tempfile.")


def anything(_: Path) -> None:
    pass


def replace(path: Path, content: str) -> None:
    with replaced_folder(path, anything) as new:
        (new / "a").write_text(content)
        (new / "b").write_text(content)


def content(path: Path) -> list[str]:
    return [file.read_text() for file in sorted(path.iterdir())]


def no_exchange(*_: Path) -> None:
    raise OSError(errno.ENOSYS, "no exchange")


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process and return its wait status."""
    if (child := os.fork()) == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_kill_at_any_step_leaves_a_complete_folder_and_the_next_call_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    path = tmp_path / "model"
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", no_exchange)
    killed, step = True, 0
    while killed:
        replace(path, "old")

        def work(last: int = step) -> None:
            left = last

            def kill_at_last(event: str, _: object) -> None:
                nonlocal left
                if event == "os.kill" or not event.startswith(STEPS):
                    return
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(kill_at_last)
            replace(path, "new")

        status = in_child(work)
        assert status in (0, signal.SIGKILL)
        killed = status != 0
        if exchanges or path.exists():
            assert content(path) in (["old"] * 2, ["new"] * 2), step
        else:  # the moment between two renames: both folders are complete, and the next call puts the old one back
            with pytest.raises(RuntimeError), replaced_folder(path, anything):
                raise RuntimeError
            assert content(path) == ["old"] * 2
        replace(path, "newer")
        assert content(path) == ["newer"] * 2
        for leftover in set(tmp_path.iterdir()) - {path}:
            leftover.rmdir()  # an empty one, from before its lock was made
        step += 1
    assert step > 10


def test_a_failure_leaves_the_old_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    replace(tmp_path / "model", "old")
    with pytest.raises(RuntimeError), replaced_folder(tmp_path / "model", anything) as new:
        (new / "a").write_text("half")
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert content(tmp_path / "model") == ["old"] * 2


def test_a_failure_removes_the_parent_folders_that_were_created(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replaced_folder(tmp_path / "some" / "where" / "model", anything):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_files_that_others_add_meanwhile_are_not_deleted(tmp_path: Path) -> None:
    def mine(path: Path) -> None:
        if path.exists() and {file.name for file in path.iterdir()} != {"a", "b"}:
            raise BadInput("not mine")

    replace(tmp_path / "model", "old")
    with pytest.raises(BadInput, match="not mine"), replaced_folder(tmp_path / "model", mine):
        (tmp_path / "model" / "diary").write_text("dear")
    assert (tmp_path / "model" / "diary").read_text() == "dear"


def test_two_replacements_of_the_same_folder_leave_one_complete_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with replaced_folder(path, anything) as first:
        (first / "a").write_text("first")
        replace(path, "second")  # must not mistake the first one's folder for a leftover
    assert content(path) == ["first"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    replace(tmp_path / "model", "old")
    (tmp_path / "link").symlink_to("model")
    replace(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "model") == ["new"] * 2
