"""Judge the comparison, keep the verdict, and move the alias only where it says promote."""

from __future__ import annotations

from strop.config import Config
from strop.promote import registry
from strop.promote.gate import decide
from strop.records import Candidate, JsonObject, Verdict
from strop.store import Database
from strop.store.registry import save_verdict


def promote(config: Config, db: Database, report: JsonObject, run_id: str, candidate: Candidate) -> Verdict:
    """Register the candidate, judge it, save the verdict; only `promote` changes the champion.

    Safe to repeat: the same report gives the same verdict, kept once.
    """
    verdict = decide(report, config.promote, candidate_id=candidate.candidate_id)
    registry.register(db, candidate)
    save_verdict(db, run_id, verdict)
    if verdict.decision == "promote":
        registry.promote(db, candidate.candidate_id, f"run {run_id}: {verdict.reasons[0]}")
    return verdict
