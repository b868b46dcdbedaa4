"""A process without seccomp, Landlock or both, as on an older kernel: `bare_platform.py WHICH FILE [unsafe]`.

A filter that children inherit answers these system calls as a kernel without them would. It prints the
grade and the layers that held, or the refusal.
"""

from __future__ import annotations

import ctypes
import errno
import json
import platform
import struct
import sys
from pathlib import Path

from strop.errors import StropError
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox

PRCTL, SECCOMP, LANDLOCK = {"x86_64": (157, 317, 444), "aarch64": (167, 277, 444)}.get(
    platform.machine(), (0, 0, 0)
)
SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def take_away(*, seccomp: bool, landlock: bool) -> None:
    program = [op(LOAD, 0)]
    if landlock:
        program += [op(EQUAL, LANDLOCK, 0, 1), op(RETURN, ERRNO | errno.ENOSYS)]
    if seccomp:
        program += [op(EQUAL, SECCOMP, 0, 1), op(RETURN, ERRNO | errno.ENOSYS)]
        program += [op(EQUAL, PRCTL, 0, 3), op(LOAD, 16), op(EQUAL, SET_SECCOMP, 0, 1)]
        program += [op(RETURN, ERRNO | errno.EINVAL)]
    program.append(op(RETURN, ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    zeros = [ctypes.c_ulong(0)] * 3
    assert libc.prctl(SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *zeros) == 0
    filtered = libc.prctl(SET_SECCOMP, ctypes.c_ulong(FILTER), ctypes.byref(header), *zeros[:2])
    assert filtered == 0, ctypes.get_errno()


def main() -> None:
    missing = sys.argv[1].split(",")
    take_away(seccomp="seccomp" in missing, landlock="landlock" in missing)
    try:
        with Sandbox(load_grader(Path(sys.argv[2])), Limits(workers=1), unsafe="unsafe" in sys.argv) as box:
            grade = box.run([({}, {})])[0]
            print(json.dumps({"layers": box.layers, "score": grade.score, "error": grade.error}))
    except StropError as refused:
        print(json.dumps({"refused": refused.what, "fix": refused.fix}))


if __name__ == "__main__":
    main()
