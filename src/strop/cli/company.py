"""The demo's example company: its files, and its processes as any outside service would be run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import strop
from strop.errors import ConfigError, OutsideServiceError
from strop.grade.child import Spawner

DB = "sqlite:///logistics/company.db"
_FIRST_LINE_S = 60.0


def unpack(root: Path) -> None:
    """Put strop.toml and the folder logistics/ into `root`; files that are there stay as they are.

    Raises ConfigError where another project's strop.toml stands in the way.
    """
    example = _example()
    ours = (example / "strop.toml").read_text(encoding="utf-8")
    mine = root / "strop.toml"
    if mine.exists() and mine.read_text(encoding="utf-8").partition("\n")[0] != ours.partition("\n")[0]:
        raise ConfigError(
            "this folder has a strop.toml of its own, and the demo would write its own beside your data",
            where=str(mine),
            fix="mkdir demo && strop demo --dir demo   # for your own project: strop run",
        )
    for source in sorted(example.rglob("*")):
        if not source.is_file() or source.suffix in (".pyc", ".db") or "__pycache__" in source.parts:
            continue
        relative = source.relative_to(example)
        target = mine if relative == Path("strop.toml") else root / "logistics" / relative
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def call(root: Path, module: str, *arguments: str, key: str | None = None) -> Any:
    """Run `python -m logistics.<module>` to its end and return the JSON of its last line.

    Raises OutsideServiceError with the last line it complained with.
    """
    env = _environment(root)
    if key:
        env["OPENAI_API_KEY"] = key
    argv = [sys.executable, "-m", f"logistics.{module}", *arguments]
    done = subprocess.run(argv, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        log = root / ".strop" / f"{module}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise OutsideServiceError(
            f"logistics.{module} failed (exit {done.returncode}): {said}", where=str(log), fix="strop demo"
        )
    return json.loads(lines[-1])


@contextmanager
def service(root: Path, module: str) -> Generator[str]:
    """Run a company service for as long as the block, or this process, lasts; yield its base URL."""
    log = root / ".strop" / f"{module}.log"
    log.parent.mkdir(exist_ok=True)
    spawner = Spawner()
    with log.open("ab") as errors:
        child = spawner.start(
            [sys.executable, "-m", f"logistics.{module}"],
            cwd=root,
            env=_environment(root),
            stdin=subprocess.DEVNULL,
            stderr=errors,
            launcher=True,
        )
    try:
        yield _first_line(child, module, log)
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()
        spawner.close()


def _first_line(child: subprocess.Popen[bytes], module: str, log: Path) -> str:
    assert child.stdout is not None
    watchdog = threading.Timer(_FIRST_LINE_S, child.kill)
    watchdog.start()
    try:
        line = child.stdout.readline().decode().strip()
    finally:
        watchdog.cancel()
    if not line:
        raise OutsideServiceError(f"logistics.{module} did not start", where=str(log), fix="strop demo")
    return line


def _environment(root: Path) -> dict[str, str]:
    # The company is the project's own package, found in its folder; nothing of strop's is needed.
    path: Sequence[str] = (str(root), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def _example() -> Path:
    package = Path(strop.__file__).resolve().parent
    for folder in (package / "examples" / "logistics", package.parents[1] / "examples" / "logistics"):
        if (folder / "strop.toml").is_file():
            return folder
    raise ConfigError("the example company is not installed", where=str(package), fix="reinstall strop")
