"""All limits of a worker, in the order that works without root."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import struct
import sys
import sysconfig

from strop.grade.sandbox import landlock, seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION = 0x20080522

# What an interpreter and its compiled packages read besides their own installation.
_SYSTEM = (
    "/usr/lib", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
    "/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo",
    "/sys/devices/system/cpu",
)  # fmt: skip


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(workdir: str, grader_file: str, *, memory_mb: int, file_mb: int) -> dict[str, int]:
    """Give up everything that a grader doesn't need, for good.

    Returns the layers that hold: seccomp (0 or 1) and landlock (the kernel's version, 0 for none).
    """
    linux = sys.platform.startswith("linux")
    if linux:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_DUMPABLE, 0)
    readable = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), *sys.path, *_SYSTEM, grader_file}
    version = landlock.restrict(sorted(p for p in readable if p.startswith("/")), [workdir, "/dev/null"])
    # After Landlock, which needs root's right to open other people's folders for its rules.
    if linux:
        _drop_capabilities()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_FSIZE, file_mb << 20)
    _limit(resource.RLIMIT_AS, memory_mb << 20)
    filtered = seccomp.install(writes=version > 0)
    if not filtered:
        _limit(resource.RLIMIT_NPROC, 0)
    return {"seccomp": int(filtered), "landlock": version}


def enough(layers: dict[str, int]) -> bool:
    """Say whether these layers confine a grader: TCP is out of reach with either."""
    return layers.get("seccomp", 0) > 0 or layers.get("landlock", 0) >= 4


def allow_cpu(seconds: int, used: float) -> None:
    """Let this process use `seconds` more CPU seconds; beyond that SIGXCPU ends it."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + seconds, hard))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _prctl(option: int, value: int) -> None:
    zeros = [ctypes.c_ulong(0)] * 3
    ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), *zeros)


def _drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION, 0))
    nothing = ctypes.create_string_buffer(24)
    ctypes.CDLL(None, use_errno=True).capset(header, nothing)
