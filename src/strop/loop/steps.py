"""The loop's steps as the engine and the single commands call them: JSON in, JSON out, files in the folder.

train.json, report.json and report.html stay in the run's folder, so that `strop compare` and
`strop promote` find what `strop train` or a run left behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.config import Config
from strop.errors import InputError
from strop.loop.engine.protocol import Json, Step, StepContext, Watcher
from strop.records import Candidate, digest
from strop.store.files import write_atomically

if TYPE_CHECKING:
    from strop.records import Verdict
    from strop.store import Database

TRAINED, REPORT, PAGE = "train.json", "report.json", "report.html"


@dataclass(frozen=True)
class Folder:
    """A StepContext without an engine: a run's folder and someone who watches."""

    run_id: str
    folder: Path
    step: str
    watch: Watcher = field(default=lambda step, news: None)

    def progress(self, news: Json) -> None:
        """Tell the watcher."""
        self.watch(self.step, news)


def steps(config: Config, db: Database) -> Mapping[str, Step]:
    """Return the loop's steps by name, bound to a configuration and a store."""

    def pull(arg: Json, context: StepContext) -> Json:
        from strop.loop.pull import pull

        return pull(
            config,
            db,
            since=arg.get("since"),
            on_progress=lambda done, size, text: context.progress(_part(done, size, text)),
        )

    def curate(arg: Json, context: StepContext) -> Json:
        from strop.loop.curate import curate

        return curate(
            config,
            db,
            allow_small=arg.get("allow_small"),
            on_progress=lambda done, size, text: context.progress(_part(done, size, text)),
        )

    def grade(arg: Json, context: StepContext) -> Json:
        from strop.loop.grade import grade

        return grade(
            config,
            db,
            allow_binary=arg.get("allow_binary"),
            unsafe=bool(arg.get("unsafe")),
            on_progress=lambda done, total: context.progress(_part(done, total, "graded")),
        )

    def audit(arg: Json, context: StepContext) -> Json:
        from strop.loop.audit import audit, keep, refuse_if_failed

        document = audit(
            config,
            db,
            allow_binary=arg.get("allow_binary"),
            unsafe=bool(arg.get("unsafe")),
            on_progress=lambda text: context.progress({"text": text}),
        )
        page = keep(config, document)
        refuse_if_failed(config, document)
        checks = [c for c in document["checks"] if c["verdict"] == "warn"]
        return {"verdict": document["verdict"], "warnings": [f"{c['id']} {c['name']}" for c in checks],
                "prompts": document["prompts"], "page": str(page)}  # fmt: skip

    def train(arg: Json, context: StepContext) -> Json:
        from strop.loop.audit import standing
        from strop.loop.train import train

        if standing(config, db) == "not examined":
            context.progress({"text": "the grader was not examined: strop audit"})
        trained = train(
            config, db, context.run_id, on_progress=context.progress, unsafe=bool(arg.get("unsafe"))
        )
        write_atomically(context.folder / TRAINED, trained)
        return trained

    def compare(arg: Json, context: StepContext) -> Json:
        from strop.loop.compare import compare
        from strop.promote.report import html

        report = compare(
            config,
            db,
            context.run_id,
            arg["trained"],
            on_progress=context.progress,
            unsafe=bool(arg.get("unsafe")),
        )
        write_atomically(context.folder / REPORT, report)
        (context.folder / PAGE).write_text(html(report), encoding="utf-8")
        means = {name: {k: arm[k] for k in ("mean", "ci95", "n")} for name, arm in report["arms"].items()}
        return {"report": str(context.folder / REPORT), "page": str(context.folder / PAGE), "means": means}

    def judge(arg: Json, context: StepContext) -> Json:
        from strop.promote.gate import decide
        from strop.promote.report import html

        report, trained = read_json(Path(arg["report"])), arg["candidate"]
        verdict = verdict_json(decide(report, config.promote, candidate_id=str(trained["candidate_id"])))
        document = run_document(config, report, trained, verdict, arg.get("rows"), arg.get("distribution"))
        (context.folder / PAGE).write_text(html(document), encoding="utf-8")
        return verdict

    def promote(arg: Json, context: StepContext) -> Json:
        from strop.loop.promote import promote

        trained = arg["candidate"]
        candidate = Candidate(
            candidate_id=trained["candidate_id"],
            path=trained["path"],
            created_at=trained["finished_at"],
            lineage=trained["lineage"],
        )
        report = read_json(Path(arg["report"]))
        return verdict_json(promote(config, db, report, context.run_id, candidate))

    named = (pull, curate, grade, audit, train, compare, judge, promote)
    return {step.__name__: step for step in named}


def inputs_digest(config: Config) -> str:
    """Identify what a run depends on and a user may edit: the configuration and the grader's text."""
    grader = config.path(config.grade.file)
    text = grader.read_text(encoding="utf-8", errors="replace") if grader.is_file() else ""
    return digest([config.model_dump(mode="json", exclude={"root", "serve"}), text])


def latest_with(config: Config, name: str) -> Path:
    """Return the newest run folder that holds the file `name`. Raises InputError where none does."""
    found = sorted((config.state / "runs").glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
    if not found:
        before = {TRAINED: "strop train", REPORT: "strop compare"}[name]
        raise InputError(f"there is no {name} yet", where=str(config.state / "runs"), fix=before)
    return found[-1].parent


def read_json(path: Path) -> Json:
    """Read a JSON document that a step wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def run_document(
    config: Config,
    report: Json,
    trained: Json,
    verdict: Json,
    rows: Json | None = None,
    distribution: Json | None = None,
) -> Json:
    """Return what one page tells about a run (`promote.report.html`)."""
    return {
        **report,
        "project": config.project.name,
        "at": trained["finished_at"],
        "rows": rows,
        "scores": {**report["arms"], "baselines": report.get("baselines", {})},
        "distribution": distribution,
        "train": trained,
        "verdict": verdict,
    }


def verdict_json(verdict: Verdict) -> Json:
    """Return a verdict as JSON."""
    import msgspec

    return msgspec.to_builtins(verdict)


def _part(done: int, total: int, text: str) -> dict[str, Any]:
    return {"done": done, "total": total, "text": text}
