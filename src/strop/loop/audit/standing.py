"""The last examination of a project's grader, and what it stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from strop.config import Config
from strop.errors import AnswerIsNo
from strop.grade.audit.page import html
from strop.grade.scorer import Scorer
from strop.store import Database
from strop.store.files import write_atomically

DOCUMENT, PAGE = "audit.json", "audit.html"


def keep(config: Config, document: dict[str, Any]) -> Path:
    """Keep an examination beside the store, for training to look at and people to read; return the page."""
    write_atomically(config.state / DOCUMENT, document)
    page = config.state / PAGE
    page.write_text(html(document), encoding="utf-8")
    return page


def refuse_if_failed(config: Config, document: dict[str, Any]) -> None:
    """Raise AnswerIsNo for an examination that failed, unless audit.required says otherwise."""
    if document["verdict"] != "fail" or not config.audit.required:
        return
    failed = [f"{c['id']} {c['name']}: {c['what']}" for c in document["checks"] if c["verdict"] == "fail"]
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    raise AnswerIsNo(
        f"the grader failed its examination, so nothing is trained on it: {failed[0]}{more}",
        where=str(config.path(config.grade.file)),
        fix="strop audit --fix-hints   # or, knowing what you do, audit.required = false",
    )


def standing(config: Config, db: Database) -> str:
    """Return what the last examination said of this very grader: its verdict, or "not examined"."""
    document = _kept(config)
    grader_hash = Scorer(config, db).grader_hash
    if document is None or document["grader"]["hash"] != grader_hash:
        return "not examined"
    refuse_if_failed(config, document)
    return str(document["verdict"])


def _kept(config: Config) -> dict[str, Any] | None:
    try:
        document: Any = json.loads((config.state / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "grader" in document else None
