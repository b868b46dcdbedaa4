"""One process at a time per state folder. The kernel drops the lock with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from strop.errors import ConfigError


class FolderLock:
    """An exclusive lock on a file that names its holder's process id."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises ConfigError that names the process which holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise ConfigError(
                f"another strop works in this folder: process {holder}",
                where=str(self._path.parent),
                fix=f"wait for it, or end it (kill {holder}); then the same command again",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back; nothing happens where it isn't held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
