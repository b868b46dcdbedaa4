"""Each abuse is tried for real, in a worker that also has to grade the next item."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from grading import EXAMPLE

from strop.errors import ConfigError
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.sandbox.probe import probe
from strop.records import Grade, JsonObject

LIMITS = Limits(timeout_s=20, cpu_s=20, workers=1)
HOLDS = probe()
confined = pytest.mark.skipif(
    not (HOLDS["seccomp"] and HOLDS["landlock"]), reason="needs seccomp and Landlock"
)

HEAD = "import os, sys, math, json, time, socket, threading, subprocess, signal\n"


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, JsonObject], Grade]]:
    """A sandbox whose grader runs the rollout's own code, and then a good item."""
    path = tmp_path_factory.mktemp("attempts") / "grader.py"
    path.write_text(HEAD + "def grade(rollout, ground_truth):\n    return eval(rollout['attempt'])\n")
    with Sandbox(load_grader(path), LIMITS) as sandbox:

        def attempt(code: str, item: JsonObject) -> Grade:
            tried, after = sandbox.run([({**item, "attempt": code}, {}), ({"attempt": "0.5"}, {})])
            assert after == Grade(score=0.5)
            return tried

        yield attempt


def grades(tmp_path: Path, body: str, items: list[JsonObject], limits: Limits = LIMITS) -> list[Grade]:
    """Run a grader with this body on items; an item {"ok": 1} always scores 0.5."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    path = tmp_path / "grader.py"
    path.write_text(
        f"{HEAD}def grade(rollout, ground_truth):\n    if 'ok' in rollout:\n        return 0.5\n{lines}"
    )
    with Sandbox(load_grader(path), limits) as sandbox:
        return sandbox.run([(item, {}) for item in items])


def error_of(tmp_path: Path, body: str, limits: Limits = LIMITS, **item: object) -> str:
    """Return the error of an abusive grade between two good ones, which must survive it."""
    before, bad, after = grades(tmp_path, body, [{"ok": 1}, dict(item), {"ok": 1}], limits)
    assert before == after == Grade(score=0.5)
    assert bad.score is None and bad.error is not None
    return bad.error


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("7", "7, outside [0, 1]"),
        ("-0.01", "-0.01, outside"),
        ("math.nan", "nan"),
        ("math.inf", "inf, outside"),
        ("10**400", "outside [0, 1]"),
        ("'good'", "'good' (str), not a number"),
        ("None", "None (NoneType), not a number"),
        ("[1]", "(list), not a number"),
        ("1j", "(complex), not a number"),
    ],
)
def test_a_value_that_is_no_score_is_an_error(
    attempts: Callable[[str, JsonObject], Grade], value: str, says: str
) -> None:
    error = attempts(value, {}).error
    assert error is not None and error.startswith("returned ") and says in error


@pytest.mark.parametrize(("value", "score"), [("True", 1.0), ("False", 0.0), ("1", 1.0), ("0.25", 0.25)])
def test_numbers_of_python_are_scores(
    attempts: Callable[[str, JsonObject], Grade], value: str, score: float
) -> None:
    assert attempts(value, {}) == Grade(score=score)


def test_an_exception_names_type_message_and_line(tmp_path: Path) -> None:
    assert error_of(tmp_path, "return rollout['missing']") == "raised KeyError: 'missing' (line 5)"
    assert error_of(tmp_path, "sys.exit(0)").startswith("raised SystemExit: 0")
    assert error_of(tmp_path, "raise KeyboardInterrupt").startswith("raised KeyboardInterrupt")
    assert error_of(tmp_path, "return grade(rollout, ground_truth)").startswith("raised RecursionError")
    assert len(error_of(tmp_path, "raise ValueError('x' * 10**6)")) <= 400


def test_a_loop_is_a_timeout(tmp_path: Path) -> None:
    short = Limits(timeout_s=1.0, cpu_s=20, workers=1)
    assert error_of(tmp_path, "while True: pass", short) == "timeout: no grade within 1 s"
    assert error_of(tmp_path, "time.sleep(60)", short) == "timeout: no grade within 1 s"


def test_cpu_time_is_limited(tmp_path: Path) -> None:
    limits = Limits(timeout_s=30, cpu_s=1, workers=1)
    assert error_of(tmp_path, "while True: pass", limits) == "timeout: over 1 s of CPU time"


def test_eight_gigabytes_are_a_memory_error(tmp_path: Path) -> None:
    assert error_of(tmp_path, "return len(bytearray(8 << 30))").startswith("raised MemoryError")


@confined
@pytest.mark.parametrize(
    "attempt",
    [
        "socket.socket()",
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.socketpair()",
        "os.fork()",
        "[os.fork() for _ in range(10**6)]",
        "subprocess.run(['/bin/true'])",
        "os.execv('/bin/true', ['true'])",
        "open('/etc/passwd').read()",
        "open(rollout['home']).read()",
        "os.listdir(rollout['folder'])",
        "open(rollout['outside'], 'w').write('x')",
        "os.chmod(rollout['home'], 0o777)",
        "os.unlink(rollout['home'])",
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
        "os.killpg(0, 9)",
        "open(f'/proc/{os.getppid()}/environ').read()",
        "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
        "open(__file__, 'a')",
        "open(rollout['python'], 'a')",
    ],
)
def test_what_lies_outside_is_denied(
    attempts: Callable[[str, JsonObject], Grade], tmp_path: Path, attempt: str
) -> None:
    outside = tmp_path / "outside"
    secret = tmp_path / "home" / "secret"
    secret.parent.mkdir()
    secret.write_text("secret")
    item = {"home": str(secret), "folder": str(tmp_path), "outside": str(outside), "python": os.__file__}
    error = attempts(f"{attempt} and 1.0 or 1.0", item).error
    assert error is not None and error.startswith("raised ")
    assert error.split(":")[0].split()[1] in ("PermissionError", "BlockingIOError", "FileNotFoundError")
    assert not outside.exists() and secret.read_text() == "secret"


@confined
def test_raw_system_calls_are_denied_too(tmp_path: Path) -> None:
    body = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
calls = {"socket": (41, 2, 1, 0), "ptrace": (101, 16, os.getppid(), 0), "io_uring": (425, 8, 0),
         "memory": (310, os.getppid(), 0, 0, 0, 0), "raise": (302, os.getppid(), 7, 0, 0)}
allowed = [name for name, call in calls.items() if libc.syscall(*call) != -1 or ctypes.get_errno() != 1]
if allowed: raise RuntimeError(allowed)
raise PermissionError
"""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    assert error_of(tmp_path, body).startswith("raised PermissionError")


@confined
def test_limits_can_not_be_raised_again(tmp_path: Path) -> None:
    body = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"
    assert error_of(tmp_path, body).startswith("raised ValueError")


def test_the_temporary_folder_is_there_to_write_in_and_files_are_capped(tmp_path: Path) -> None:
    body = "open('note', 'w').write('x' * 10)\nreturn len(open('note').read()) / 10"
    assert grades(tmp_path, body, [{}]) == [Grade(score=1.0)]
    assert "raised OSError" in error_of(tmp_path, "open('big', 'wb').write(b'x' * (64 << 20))\nreturn 1.0")


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        ("os._exit(0)", "ended its process (exit status 0)"),
        ("os.abort()", "SIGABRT"),
        ("os.closerange(0, 64)\nreturn 1.0", "crashed"),
        ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    ],
)
def test_a_crash_is_that_items_error(tmp_path: Path, attempt: str, says: str) -> None:
    error = error_of(tmp_path, attempt)
    assert error.startswith("crashed: ") and says in error


@pytest.mark.parametrize(
    "noise",
    [
        "print('x' * 10**6)",
        "sys.stdout.buffer.write(b'\\xff' * 10**6); sys.stdout.flush()",
        "os.write(1, b'\\x02\\x00\\x00\\x00{}'); os.write(2, b'x')",
        "sys.stdin.read()",
    ],
)
def test_what_a_grader_prints_goes_nowhere(tmp_path: Path, noise: str) -> None:
    assert grades(tmp_path, f"{noise}\nreturn 0.25", [{}, {"ok": 1}]) == [Grade(score=0.25), Grade(score=0.5)]


def test_forged_frames_end_the_worker_and_shift_no_grade(tmp_path: Path) -> None:
    body = """
for fd in range(3, 64):
    try: os.write(fd, b"\\x07\\x00\\x00\\x00nothing")
    except OSError: pass
return 1.0
"""
    assert error_of(tmp_path, body).startswith("crashed")


def test_items_share_no_state_of_the_grader(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "seen = []\n"
        "def grade(rollout, ground_truth):\n"
        "    global grade\n"
        "    seen.append(1)\n"
        "    rollout['x'] = ground_truth['x'] = 1\n"
        "    grade = lambda *a: 1.0\n"
        "    return len(seen) / 10\n"
    )
    item: tuple[JsonObject, JsonObject] = ({}, {})
    with Sandbox(load_grader(path), LIMITS) as sandbox:
        assert {g.score for g in sandbox.run([item] * 50)} == {0.1}
    assert item == ({}, {})


def test_a_grader_that_breaks_json_breaks_itself_only(tmp_path: Path) -> None:
    body = (
        "import msgspec\njson.loads = json.dumps = None\nmsgspec.json.encode = lambda v: b'{}'\nreturn 0.75"
    )
    results = grades(tmp_path, body, [{"ok": 1}, {}, {"ok": 1}])
    assert results[0] == Grade(score=0.5)
    assert all(g.score in (None, 0.5, 0.75) for g in results)


def test_order_is_the_order_of_the_items(tmp_path: Path) -> None:
    body = "n = rollout['n']\ntime.sleep(n % 3 / 1000)\nif n % 7 == 0: os._exit(1)\nreturn n / 100"
    results = grades(tmp_path, body, [{"n": n} for n in range(40)], Limits(timeout_s=20, workers=2))
    for n, grade in enumerate(results):
        assert grade.score == (None if n % 7 == 0 else n / 100)


def test_large_rollouts_pass_and_enormous_ones_are_errors(tmp_path: Path) -> None:
    items: list[JsonObject] = [{"text": "x" * (3 << 20)}, {"text": "x" * (17 << 20)}, {"ok": 1}]
    large, enormous, ok = grades(tmp_path, "return len(rollout['text']) / 10**8", items)
    assert large.score == pytest.approx((3 << 20) / 10**8)
    assert enormous.error == "the rollout is over 16 MB" and ok.score == 0.5


def test_threads_of_the_interpreter_work(tmp_path: Path) -> None:
    body = "done = []\nt = threading.Thread(target=done.append, args=(1,))\nt.start()\nt.join()"
    body += "\nreturn len(done) / 2"
    assert grades(tmp_path, body, [{}]) == [Grade(score=0.5)]


def test_packages_of_the_environment_can_be_imported(tmp_path: Path) -> None:
    body = "import numpy as np\nreturn np.float32(np.linalg.norm(np.array([0.3, 0.4])))"
    assert grades(tmp_path, body, [{}])[0].score == pytest.approx(0.5)


def test_the_environment_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    body = "if 'x' in os.environ.values() or 'HOME' in os.environ: raise ValueError\nreturn 1.0"
    assert grades(tmp_path, body, [{}]) == [Grade(score=1.0)]


def test_sets_iterate_alike_in_every_worker(tmp_path: Path) -> None:
    body = "return [*{'a', 'b', 'c', 'd', 'e', 'f'}].index('a') / 10"
    first, second = (grades(tmp_path, body, [{}]) for _ in range(2))
    assert first == second


def test_a_grader_runs_under_its_own_rules_for_annotations(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "def grade(rollout: dict, ground_truth: dict) -> float:\n"
        "    return 0.5 if grade.__annotations__['return'] is float else 0.0\n"
    )
    with Sandbox(load_grader(path), LIMITS) as sandbox:
        assert sandbox.run([({}, {})]) == [Grade(score=0.5)]


def test_components_are_the_locals_of_the_return(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(EXAMPLE)
    calls = [{"name": "lookup_tracking"}, {"name": "lookup_eta"}]
    rollout = {"final_status": "delayed", "tool_calls": calls, "llm_judge": {"tone_pass": False}}
    with Sandbox(load_grader(path), LIMITS) as sandbox:
        (grade,) = sandbox.run([(rollout, {"status": "delayed"})])
    assert grade == Grade(score=0.85, components={"answer_ok": 1.0, "tool_ok": 1.0, "tone_ok": 0.0})


def test_components_that_are_no_share_are_left_out(tmp_path: Path) -> None:
    body = (
        "good, big, text = 0.5, 7, float('nan')\nif big: text = 0\nreturn 0.5 * good + 0.01 * big + 0 * text"
    )
    (grade,) = grades(tmp_path, body, [{}])
    assert grade.components == {"good": 0.5, "text": 0.0}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_like_it\ndef grade(rollout, ground_truth): return 1", "ModuleNotFoundError"),
        ("def grade(rollout, ground_truth): return 1\n1/0", "ZeroDivisionError: division by zero (line 2)"),
        ("import os\ndef grade(rollout, ground_truth): return 1\nos._exit(1)", "its process ended"),
    ],
)
def test_a_file_that_does_not_load_stops_the_step(tmp_path: Path, source: str, says: str) -> None:
    path = tmp_path / "grader.py"
    path.write_text(source)
    with pytest.raises(ConfigError, match="grader") as caught, Sandbox(load_grader(path), LIMITS):
        pass
    assert says in str(caught.value)


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text("import time\ndef grade(rollout, ground_truth):\n    time.sleep(300)")
    program = (
        "import sys, pathlib\nfrom strop.grade.load import load_grader\n"
        "from strop.grade.sandbox import Limits, Sandbox\n"
        f"with Sandbox(load_grader(pathlib.Path({str(path)!r})), Limits(timeout_s=200, workers=1)) as s:\n"
        "    print(s.workers[0], flush=True)\n    s.run([({}, {})])\n"
    )
    home = tmp_path / "temporary"
    home.mkdir()
    environment = {**os.environ, "TMPDIR": str(home)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.2)
    os.kill(worker, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(worker):
        time.sleep(0.02)
    assert not _alive(worker)
    # The folder that the killed one could not remove is removed by the next.
    left = list(home.iterdir())
    assert len(left) == 1
    path.write_text("def grade(rollout, ground_truth):\n    return 0.5")
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment)
    assert list(home.iterdir()) == []


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_a_parent_thread_that_ends_takes_no_worker_along(tmp_path: Path) -> None:
    import threading

    path = tmp_path / "grader.py"
    path.write_text("def grade(rollout, ground_truth): return 0.5")
    sandbox = Sandbox(load_grader(path), LIMITS)
    thread = threading.Thread(target=sandbox.__enter__)
    thread.start()
    thread.join()
    try:
        before = sandbox.workers
        assert sandbox.run([({}, {})] * 3) == [Grade(score=0.5)] * 3
        assert sandbox.workers == before
    finally:
        sandbox.close()


@confined
def test_without_landlock_the_file_system_is_read_only(tmp_path: Path) -> None:
    program = (
        "from strop.grade.sandbox import seccomp, confine\nimport ctypes, os\n"
        "ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)\n"
        "assert seccomp.install(writes=False)\n"
        "open('/etc/passwd').close()\n"
        "for attempt in (lambda: open('new', 'w'), lambda: os.mkdir('d'), lambda: os.unlink('old'),\n"
        "                lambda: os.rename('old', 'o'), lambda: os.truncate('old', 0),\n"
        "                lambda: open('old', 'a')):\n"
        "    try: attempt()\n"
        "    except PermissionError: continue\n"
        "    raise SystemExit('allowed')\n"
    )
    (tmp_path / "old").write_text("x")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
