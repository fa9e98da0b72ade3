"""Folders that are replaced as a whole: complete under their name, or not there."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from interrupts import uninterrupted

NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What the kernel or the file system answers where it cannot exchange two folders."""


@contextmanager
def replaced_folder(path: Path, check_ours: Callable[[Path], object]) -> Iterator[Path]:
    """Yield an empty folder to fill; put it in place of `path` when the block ends without an exception.

    Linux and macOS exchange the two folders in one atomic step, so that a complete folder stands under `path` at every
    moment, whichever process is killed. On file systems that cannot exchange, two renames do it; if the process is
    killed between them, the next call for the same path puts the old folder back. What killed processes leave beside
    `path` is removed by the next call.

    Parameters
    ----------
    path
        The folder to replace or to make; its parent is made if it is missing.
    check_ours
        Raise BadInput unless `path` is missing or may be deleted. It is called at the beginning and again just before
        the replacement, because others may have put files there meanwhile.
    """
    path = path.resolve()
    check_ours(path)
    made = [parent for parent in path.parents if not parent.exists()]
    prefix = f".{path.name}.irisbench-"
    beside, lock = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path, prefix)
        with uninterrupted():
            beside = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
            lock = filelock.FileLock(beside / "lock")
            lock.acquire()
        (beside / "new").mkdir()
        yield beside / "new"
        with uninterrupted():
            _put_in_place(beside, path, check_ours)
    finally:
        with uninterrupted():
            if beside is not None:
                _remove(beside)
            if lock is not None:
                lock.release()
            if not path.exists():
                for parent in made:
                    with suppress(OSError):
                        parent.rmdir()


def _put_in_place(beside: Path, path: Path, check_ours: Callable[[Path], object]) -> None:
    new, old = beside / "new", beside / "old"
    try:
        new.rename(path)  # nothing is there, or an empty folder
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
    check_ours(path)
    try:
        _exchange(new, path)
    except OSError as error:
        if error.errno not in NO_EXCHANGE:
            raise
        path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            old.rename(path)
            raise
    else:
        new.rename(old)


def _exchange(a: Path, b: Path) -> None:
    """Exchange two folders in one atomic step. OSError with one of `NO_EXCHANGE` where that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux; RENAME_SWAP of macOS is 2 as well
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(os.fsencode(a), os.fsencode(b), exchange)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(b))


def _remove_leftovers(path: Path, prefix: str) -> None:
    """Remove what killed processes left beside `path`: folders of ours whose lock nobody holds."""
    for leftover in sorted(path.parent.iterdir()):
        if not leftover.name.startswith(prefix) or not (leftover / "lock").is_file() or leftover.is_symlink():
            continue
        lock = filelock.FileLock(leftover / "lock", timeout=0)
        try:
            with lock, uninterrupted():
                if (leftover / "old").exists() and not path.exists():
                    (leftover / "old").rename(path)
                _remove(leftover)
        except (filelock.Timeout, OSError):
            continue  # another process is at work there, or the folder is another user's


def _remove(beside: Path) -> None:
    """Remove a folder of ours, the lock last: without it, what a kill leaves would not be known as ours."""
    for folder in (beside / "new", beside / "old", beside):
        shutil.rmtree(folder, ignore_errors=True)
