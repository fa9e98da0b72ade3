"""Replace folders as a whole, so that a folder is complete or missing at every moment."""

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
"""Error numbers of a kernel or a file system that cannot exchange two folders."""


@contextmanager
def replaced_folder(path: Path, check_ours: Callable[[Path], object]) -> Iterator[Path]:
    """Yield an empty folder, and replace `path` by it when the block ends without an exception.

    Linux and macOS exchange the two folders in one atomic step. If the process is killed, `path` is therefore still a
    complete folder, the old or the new one. On file systems that cannot exchange folders, two renames replace the
    folder. If the process is killed between them, the next call for the same path restores the old folder. The next
    call also removes temporary folders of killed processes.

    Parameters
    ----------
    path
        The folder to replace or create. Missing parents are created.
    check_ours
        Function that raises BadInput if `path` exists and must not be deleted. It is called at the beginning and just
        before the replacement, because other programs may add files in the meantime.
    """
    path = path.resolve()
    check_ours(path)
    created = [parent for parent in path.parents if not parent.exists()]
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
                for parent in created:
                    with suppress(OSError):
                        parent.rmdir()


def _put_in_place(beside: Path, path: Path, check_ours: Callable[[Path], object]) -> None:
    new, old = beside / "new", beside / "old"
    try:
        new.rename(path)  # succeeds if the path is missing or an empty folder
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
    """Exchange two folders in one atomic step. Raise OSError with a number in `NO_EXCHANGE` if that is impossible."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_fdcwd, exchange = -100, 2  # RENAME_EXCHANGE of Linux; RENAME_SWAP of macOS is 2 as well
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), exchange)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(os.fsencode(a), os.fsencode(b), exchange)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(b))


def _remove_leftovers(path: Path, prefix: str) -> None:
    """Remove temporary folders of killed processes beside `path`: those whose lock no process holds."""
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
            continue  # another process is using it, or it belongs to another user


def _remove(beside: Path) -> None:
    """Remove a temporary folder, the lock last, because a leftover folder is recognised by its lock."""
    for folder in (beside / "new", beside / "old", beside):
        shutil.rmtree(folder, ignore_errors=True)
