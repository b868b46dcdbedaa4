"""A worker's temporary folder: whether too much lies in it, and how it is emptied.

No recursion and no long paths: a grader may have nested folders deeper than either takes.
"""

from __future__ import annotations

import contextlib
import os
import stat

_MOST_ENTRIES = 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def overfull(folder: str, most_mb: int) -> bool:
    """Say whether a folder holds over `most_mb` MB on disk, or over 1,000 entries."""
    size, entries, waiting = 0, 0, [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if entries > _MOST_ENTRIES or size > most_mb << 20:
                        return True
        except FileNotFoundError:
            continue  # removed while we looked
        except OSError:
            return True
    return False


def empty(folder: str) -> bool:
    """Remove everything in a folder; return whether that worked. Links are removed, never followed."""
    try:
        top = os.open(folder, _FOLDER)
        try:
            _remove(top, os.listdir(top))  # noqa: PTH208  (a descriptor)
        finally:
            os.close(top)
    except OSError:
        return False
    return True


def _remove(top: int, waiting: list[str]) -> None:
    # What lies in a subfolder is moved up, under a name that nobody can have taken, before it is removed.
    prefix, moved = os.urandom(8).hex(), 0
    while waiting:
        name = waiting.pop()
        if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=top)
            continue
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=top)
            continue
        with contextlib.suppress(OSError):  # in the sandbox no modes can be changed
            os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, _FOLDER, dir_fd=top)
        try:
            for child in os.listdir(inner):  # noqa: PTH208
                with contextlib.suppress(OSError):  # a folder without write permission can't be moved
                    os.rmdir(child, dir_fd=inner)
                    continue
                moved += 1
                waiting.append(f"{prefix}{moved}")
                os.rename(child, waiting[-1], src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
