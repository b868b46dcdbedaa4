"""What a hostile grader tries is contained and is that item's error; the next item is graded rightly."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.sandbox.probe import probe
from strop.records import Grade, JsonObject, ToolCall

HOLDS = probe()
pytestmark = pytest.mark.skipif(
    not (HOLDS["seccomp"] and HOLDS["landlock"]), reason="needs seccomp and Landlock"
)
x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")

# The honest part leans on all that an earlier item could have tampered with.
GRADER = """
import atexit, builtins, ctypes, decimal, gc, itertools, json, math, mmap, numbers, operator, os, random
import re, resource, signal, socket, struct, subprocess, sys, threading, time

def frames():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back

def system(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), "system call")

def honest(rollout):
    assert os.listdir(".") == [] and "HOME" not in os.environ and "evil" not in os.environ
    with open("note", "w") as file:
        file.write("x")
    assert os.stat("note").st_mode & 0o777 == 0o600
    assert str(decimal.Decimal(1) / 3) == "0." + "3" * 28
    assert sys.gettrace() is None and gc.isenabled() and gc.get_threshold()[0] and isinstance(rollout, dict)
    data = json.loads(json.dumps(rollout["honest"]))
    found = float(re.match("[0-9.]+", data["text"]).group())
    time.sleep(0.002)
    return math.sqrt(found) + sum(map(len, data["parts"])) / 10

def grade(rollout, ground_truth):
    if "honest" in rollout:
        return honest(rollout)
    scope = globals()
    scope.update(rollout)
    exec(rollout["attempt"], scope)
    return scope.get("score", 1.0)
"""
HONEST: JsonObject = {"honest": {"text": "0.0625 and more", "parts": ["a", "bc", ""]}}
RIGHT = Grade(score=0.55)
LIMITS = Limits(timeout_s=20, cpu_s=20, workers=1)

Attempt = Callable[..., Grade]


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("abuse") / "grader.py"
    path.write_text(GRADER)
    return path


@pytest.fixture(scope="module")
def sandbox(grader: Path) -> Iterator[Sandbox]:
    before = children()
    with Sandbox(load_grader(grader), LIMITS) as opened:
        yield opened
        assert children() == before | set(opened.workers)
    assert children() == before
    assert list(Path(tempfile.gettempdir()).glob(f"strop-grade-{os.getpid()}-*")) == []


@pytest.fixture
def attempt(sandbox: Sandbox) -> Attempt:
    """Run some code as a grade between honest items, which must come out right."""

    def run(code: str, **item: object) -> Grade:
        files = open_files()
        before, tried, *after = graded(sandbox, [HONEST, {"attempt": code, **item}, HONEST, HONEST])
        assert [before, *after] == [RIGHT] * 3
        assert open_files() == files
        return tried

    return run


def children() -> set[int]:
    """Return the children of this process, those that nobody waited for among them."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.add(int(stat.parent.name))
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def graded(sandbox: Sandbox, rollouts: list[JsonObject]) -> list[Grade]:
    return sandbox.run([(rollout, {}) for rollout in rollouts])


NETWORK = [
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
]
READING = [
    "open(secret).read()",
    "open(database).read()",
    "os.listdir(home)",
    "open(f'/proc/{parent}/mem', 'rb').read(1)",
    "open(f'/proc/{parent}/environ').read()",
    "open(f'/proc/{parent}/cmdline').read()",
    "os.listdir(f'/proc/{parent}/fd')",
    "os.readlink(f'/proc/{parent}/cwd')",
    "open('/proc/self/environ').read()",
    "open('/dev/shm/x', 'w')",
    "os.symlink(secret, 'link'); open('link').read()",
    "os.link(secret, 'link')",
    "os.open('/dev/tty', os.O_RDWR)",
]
WRITING = [
    "open(secret, 'a')",
    "os.truncate(secret, 0)",
    "os.rename(secret, 'mine')",
    "os.symlink('/', secret + '.link')",
    "os.mkdir(secret + '.folder')",
    "os.utime(secret)",
    "os.setxattr(secret, 'user.x', b'1')",
    "open(python, 'r+')",
    "open('/proc/self/mem', 'r+b')",
    "open(f'/proc/{parent}/mem', 'r+b')",
]
PROCESSES = [
    "while True: os.fork()",
    "os.forkpty()",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "subprocess.Popen(['/bin/true'])",
    "import multiprocessing; multiprocessing.get_context('fork').Process(target=print).start()",
    "import multiprocessing; multiprocessing.get_context('spawn').Pool(2)",
    "import concurrent.futures as c; list(c.ProcessPoolExecutor().map(abs, range(99)))",
    "os.memfd_create('program')",
    "os.execv(python, [python])",
    "os.kill(os.getppid(), signal.SIGKILL)",
    "os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)",
    "os.kill(1, 0)",
    "signal.pidfd_send_signal(0, 9)",
    "os.pidfd_open(parent)",
    "os.sched_setaffinity(parent, {0})",
    "resource.prlimit(parent, resource.RLIMIT_NOFILE, (1, 1))",
    "os.nice(-5)",
    "os.setpriority(os.PRIO_PROCESS, parent, 19)",
]


@pytest.mark.parametrize("code", NETWORK + READING + WRITING + PROCESSES)
def test_what_lies_outside_is_denied(attempt: Attempt, tmp_path: Path, code: str) -> None:
    secret, database = tmp_path / "secret", tmp_path / ".strop" / "strop.db"
    database.parent.mkdir()
    for file in (secret, database):
        file.write_text("unharmed")
    places = {"secret": str(secret), "database": str(database), "home": str(Path.home())}
    error = attempt(code, python=os.__file__, parent=os.getpid(), **places).error
    assert error is not None and error.startswith("raised ")
    kind = error.split()[1].rstrip(":")
    assert kind in ("PermissionError", "BlockingIOError", "URLError", "FileNotFoundError", "OSError"), error
    assert secret.read_text() == database.read_text() == "unharmed"
    assert sorted(file.name for file in tmp_path.iterdir()) == [".strop", "secret"]


RAW = {
    "ptrace": "101, 16, parent, 0, 0",
    "process_vm_writev": "311, parent, 0, 0, 0, 0, 0",
    "io_uring_setup": "425, 8, 0",
    "userfaultfd": "323, 0",
    "bpf": "321, 0, 0, 0",
    "perf_event_open": "298, 0, 0, -1, -1, 0",
    "unshare": "272, 0x10000000",
    "clone": "56, 17, 0, 0, 0, 0",
    "clone3": "435, 0, 0",
    "vfork": "58",
    "tgkill of the parent": "234, parent, parent, 9",
    "rt_sigqueueinfo": "129, parent, 9, 0",
    "a shared memory segment": "29, 0, 4096, 0o1600",
    "another's semaphore": "66, 0, 0, 0",
    "another's message queue": "70, 0, 0, 0, 0, 0",
    "no death with the parent": "157, 1, 0, 0, 0, 0",
    "dumpable again": "157, 4, 1, 0, 0, 0",
    "signals by a file's owner": "72, 0, 8, parent",
    "kill as a file's signal": "72, 0, 10, 9",
    "typing into a terminal": "16, 0, 0x5412, 0",
    "a number of the x32 table": "0x40000000 + 57",
}


@x86_64
@pytest.mark.parametrize("call", RAW.values(), ids=RAW.keys())
def test_system_calls_are_denied_by_their_numbers(attempt: Attempt, call: str) -> None:
    error = attempt(f"system({call})", parent=os.getpid()).error
    assert error is not None and error.startswith(("raised PermissionError", "raised OSError: [Errno 38]"))


@x86_64
def test_the_other_table_of_system_calls_ends_the_process(attempt: Attempt) -> None:
    # mov eax, 20 (getpid of i386); int 0x80; ret
    code = """
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
    assert attempt(code).error == "crashed: the grader's process was ended by SIGSYS"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("bytearray(10 << 30)", "raised MemoryError"),
        ("mmap.mmap(-1, 10 << 30)", "raised OSError"),
        ("import numpy; numpy.ones(10 << 27)", "MemoryError"),
        ("parts = [bytearray(1 << 26) for _ in range(160)]", "raised MemoryError"),
        ("(1 << (10 << 33))", "raised MemoryError"),
        ("for _ in range(9999): threading.Thread(target=time.sleep, args=(60,)).start()", "raised Runtime"),
        ("threading.Thread(target=time.sleep, args=(60,)).start()", "left 1 thread running"),
    ],
)
def test_memory_and_threads_are_limited(attempt: Attempt, code: str, says: str) -> None:
    error = attempt(code).error
    assert error is not None and says in error


def test_endless_loops_end(grader: Path) -> None:
    loops = [
        "while True: pass",
        "time.sleep(60)",
        "re.match(r'(a+)+$', 'a' * 60 + 'b')",
        "pow(3, 10**9)",
        "sum(itertools.count())",
        "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        "signal.raise_signal(signal.SIGSTOP)",
        "class Never(Exception):\n    def __str__(self):\n        while True: pass\nraise Never",
        "class Never(float):\n    def __float__(self):\n        while True: pass\nscore = Never()",
    ]
    with Sandbox(load_grader(grader), Limits(timeout_s=0.4, cpu_s=20, workers=2)) as opened:
        tried = graded(opened, [HONEST, *({"attempt": code} for code in loops), HONEST])
    assert tried[0] == tried[-1] == RIGHT
    assert {grade.error for grade in tried[1:-1]} == {"timeout: no grade within 0.4 s"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("os._exit(0)", "crashed: the grader ended its process (exit status 0)"),
        ("sys.exit()", "raised SystemExit"),
        ("ctypes.string_at(0)", "crashed: the grader's process was ended by SIGSEGV"),
        ("signal.raise_signal(signal.SIGKILL)", "crashed: the grader's process was ended by SIGKILL"),
        ("signal.raise_signal(40)", "crashed: the grader's process was ended by signal 40"),
        ("signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(9)", "ended by SIGALRM"),
        ("def deep(): deep()\ndeep()", "raised RecursionError"),
        ("x = ()\nfor _ in range(10**6): x = (x,)\nhash(x)", "SIGSEGV"),
        ("raise GeneratorExit", "raised GeneratorExit"),
        ("os.closerange(0, 64)", "crashed"),
    ],
)
def test_an_end_of_the_process_is_that_items_error(attempt: Attempt, code: str, says: str) -> None:
    error = attempt(code).error
    assert error is not None and says in error


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "class Bad(Exception):\n    def __str__(self): return 'x' * (64 << 20)\nraise Bad",
            "raised Bad: xxx",
        ),
        ("class Bad(Exception):\n    def __str__(self): raise self\nraise Bad", "can't be printed"),
        (
            "class Long(str):\n    def __getitem__(self, _): return 'x' * (2 << 20)\n"
            "class Bad(Exception):\n    def __str__(self): return Long()\nraise Bad",
            "",
        ),
        (
            "class Meta(type):\n    __name__ = property(lambda self: 1 / 0)\n"
            "class Bad(Exception, metaclass=Meta): pass\nraise Bad",
            "",
        ),
        (
            "class Bad(Exception):\n    __traceback__ = property(lambda self: 1 / 0)\nraise Bad",
            "",
        ),
        ("score = 'x' * (64 << 20)", "not a number"),
        ("score = [0] * (4 << 20)", "not a number"),
        ("class Bad:\n    def __reduce__(self): return os.system, ('true',)\nscore = Bad()", "not a number"),
        ("class Bad:\n    def __repr__(self): return 'x' * (64 << 20)\nscore = Bad()", "not a number"),
        ("class Bad(float):\n    def __float__(self): return 7.0\nscore = Bad(0.5)", "returned 7, outside"),
        ("class Bad(float):\n    def __float__(self): raise KeyError\nscore = Bad(0.5)", "raised KeyError"),
        ("class Bad(float):\n    def __float__(self): return 'x'\nscore = Bad(0.5)", "raised TypeError"),
        (
            "class Bad:\n    def __float__(self): return math.nan\nnumbers.Real.register(Bad)\nscore = Bad()",
            "returned nan",
        ),
        ("score = 10**5000", "outside [0, 1]"),
        ("score = decimal.Decimal('0.5')", "not a number"),
    ],
)
def test_tricks_with_what_comes_back(attempt: Attempt, code: str, says: str) -> None:
    grade = attempt(code)
    assert grade.error is not None and says in grade.error and len(grade.error) <= 400


def test_gigabytes_of_output_go_nowhere(attempt: Attempt) -> None:
    code = "x = b'x' * (1 << 24)\nfor _ in range(99): sys.stdout.buffer.write(x); sys.stderr.buffer.write(x)"
    assert attempt(code) == Grade(score=1.0)


def test_what_a_subclass_of_float_holds_is_its_plain_value(attempt: Attempt) -> None:
    code = "class Odd(float):\n    def __reduce__(self): return exit, ()\n    __le__ = __ge__ = None\n"
    assert attempt(code + "score = Odd(0.25)") == Grade(score=0.25)


def test_no_file_of_the_parents_is_open_in_the_child(attempt: Attempt, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("unharmed")
    with canary.open("r+b") as file:
        os.set_inheritable(file.fileno(), True)
        error = attempt(
            "for fd in range(2048):\n    try: os.write(fd, b'junk' * 9); os.lseek(fd, 0, 0)\n"
            "    except OSError: pass"
        ).error
        os.set_inheritable(file.fileno(), False)
    assert error is not None and error.startswith("crashed")
    assert canary.read_text() == "unharmed"


FORGE = """
def forge(batch, index):
    body = json.dumps([batch, index, 1.0, {}, {}, None]).encode()
    for fd in range(3, 64):
        try: os.write(fd, struct.pack("<I", len(body)) + body)
        except OSError: pass
"""


def test_answers_for_other_items_are_found_out(attempt: Attempt) -> None:
    for code in ("forge(1, 1)", "for n in range(40): forge(n // 4, n % 4)", "forge(2**62, 0)"):
        grade = attempt(FORGE + code)
        assert grade == Grade(error="crashed: the worker answered what nobody asked")


def test_answers_forged_with_the_right_number_harm_no_other_item(grader: Path) -> None:
    code = """
own = next(frame.f_locals for frame in frames() if "batch" in frame.f_locals)
for ahead in range(3):
    forge(own["batch"], own["index"] + ahead)
score = 0.0
"""
    rollouts: list[JsonObject] = [HONEST, HONEST, {"attempt": FORGE + code}, *[HONEST] * 9]
    with Sandbox(load_grader(grader), LIMITS) as opened:
        tried = graded(opened, rollouts)
    del tried[2]  # its own grade is its own to choose
    assert tried == [RIGHT] * 11


def test_a_reader_of_the_pipe_harms_no_other_item(grader: Path) -> None:
    code = """
for fd in range(3, 64):
    try: os.set_blocking(fd, False); os.read(fd, 40)
    except OSError: pass
"""
    with Sandbox(load_grader(grader), Limits(timeout_s=2, workers=1)) as opened:
        tried = graded(opened, [HONEST, {"attempt": code}, *[HONEST] * 4])
    assert [grade for n, grade in enumerate(tried) if n != 1] == [RIGHT] * 5


TAMPERING = [
    "builtins.float = lambda value: 9.0\nbuiltins.len = lambda value: 9\nbuiltins.sum = builtins.map = None",
    "builtins.isinstance = lambda *a: False\nbuiltins.all = builtins.any = lambda *a: True",
    "del builtins.float, builtins.len",
    "builtins.open = builtins.str = builtins.list = builtins.dict = None",
    "math.sqrt = lambda value: 1.0\nmath.isnan = lambda value: True",
    "json.loads = json.dumps = lambda value: {}\njson.decoder.JSONDecoder = None",
    "json.len = json.str = None\nre.match = None\nre.compile = None\nre._cache.clear()",
    "sys.modules['json'] = sys.modules['math'] = sys.modules['re'] = None",
    "sys.modules.clear()",
    "import msgspec\nmsgspec.json.encode = lambda value: b'{}'\nmsgspec.json.decode = None\nmsgspec.json = 1",
    "numbers.Real = str\nos.write = os.umask = os.chdir = lambda *a: 0\nos.listdir = None",
    "time.process_time = time.sleep = None\nsignal.setitimer = None\nstruct.pack = None\ngc.enable = None",
    "import strop.grade.sandbox.worker as w\nw._score = w.write_frame = w.describe = None\nw.Grader.x = 1",
    "sys.modules['__main__']._score = lambda value: (1.0, None)",
    "sys.stdout = sys.stderr = sys.stdin = None\nsys.path.clear()\nsys.meta_path.clear()",
    "sys.settrace(lambda *a: 1 / 0)\nsys.setprofile(lambda *a: 1 / 0)",
    "threading.settrace(print)\nthreading.setprofile(print)",
    "sys.setrecursionlimit(60)",
    "decimal.getcontext().prec = 3\ndecimal.getcontext().traps[decimal.Inexact] = True",
    "gc.disable()\ngc.set_threshold(0)",
    "os.chdir('/usr/lib')",
    "os.umask(0o777)",
    "json.JSONDecoder.decode = json.JSONEncoder.encode = lambda *a, **k: {}",
    "for frame in frames(): frame.f_locals.clear()",
    "for frame in frames():\n    if 'self' in frame.f_locals: vars(frame.f_locals['self']).clear()",
    "for one in gc.get_objects():\n    if type(one).__name__ == 'Grader': one._code = one.grade = None",
    "for one in gc.get_objects():\n    if type(one).__name__ == 'Grader': type(one)._function = None",
    "os.environ['evil'] = '1'",
    "os.environ = {'HOME': '1'}",
    "os.makedirs('a/b/c')\nopen('a/b/c/left', 'w').close()\nos.umask(0o777)\nos.mkdir('a/closed')",
    "here = os.getcwd()\nfor _ in range(200): os.mkdir('d'); os.chdir('d')\nopen('left', 'w').close()",
    "kept = [os.open('left' + str(n), os.O_CREAT) for n in range(50)]\nbuiltins.kept = kept",
    "signal.signal(signal.SIGALRM, lambda *a: 1 / 0)\nsignal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)\n"
    "time.sleep(0)",
    "signal.signal(signal.SIGVTALRM, lambda *a: 1 / 0)\nsignal.setitimer(signal.ITIMER_VIRTUAL, 0.004)",
    "atexit.register(os._exit, 7)\natexit.register(time.sleep, 60)",
    "class Late:\n    def __del__(self): builtins.len = None\nbuiltins.late = Late()",
]


@pytest.mark.parametrize("code", TAMPERING, ids=range(len(TAMPERING)))
def test_what_an_item_tampers_with_is_put_back(attempt: Attempt, code: str) -> None:
    # The item may hit itself; `attempt` sees to it that it hits no other.
    attempt(code)


def test_a_flood_of_files_is_stopped_and_removed(sandbox: Sandbox, attempt: Attempt) -> None:
    size = "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'wb').write(b'x' * (1 << 23)); time.sleep(0.01)"
    count = "n = 0\nwhile True:\n    n += 1\n    os.mkdir(str(n)); time.sleep(0.0001)"
    for code in (size, count):
        assert attempt(code).error == "crashed: the grader wrote over 64 MB or 1,000 files"
    left = [*Path(tempfile.gettempdir()).glob(f"strop-grade-{os.getpid()}-*")]
    assert all(list(folder.iterdir()) == [] for folder in left)


def test_the_parent_keeps_its_signals_and_modules(sandbox: Sandbox) -> None:
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert sys.modules.get("grader") is None
    assert graded(sandbox, [HONEST] * 40) == [RIGHT] * 40


def test_nesting_that_json_can_not_take_is_an_error(sandbox: Sandbox) -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    nested, after = graded(sandbox, [{"deep": deep}, HONEST])
    assert nested == Grade(error="the rollout is nested too deeply") and after == RIGHT
    assert ToolCall("1", "f", '{"a": ' + "[" * 5000 + "]" * 5000 + "}").parsed() is None
