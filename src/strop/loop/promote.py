"""Judge the comparison, keep the verdict, and move the alias only where it says promote."""

from __future__ import annotations

from strop.config import Config
from strop.errors import ApprovalPending
from strop.promote import registry
from strop.promote.gate import decide
from strop.records import Candidate, JsonObject, Verdict
from strop.store import Database
from strop.store.registry import save_verdict


def promote(
    config: Config,
    db: Database,
    report: JsonObject,
    run_id: str,
    candidate: Candidate,
    *,
    approved: bool = False,
) -> Verdict:
    """Register the candidate, judge it, save the verdict; only `promote` changes the champion.

    Safe to repeat: the same report gives the same verdict, kept once. Raises ApprovalPending, after
    the verdict is saved, where strop.toml asks for a person's approval and `approved` is not given.
    """
    verdict = decide(report, config.promote, candidate_id=candidate.candidate_id)
    registry.register(db, candidate)
    save_verdict(db, run_id, verdict)
    if verdict.decision == "promote":
        if config.promote.approval and not approved:
            raise ApprovalPending(
                f"the gate says promote, and a person has to approve: {verdict.reasons[0]}",
                where=f"run {run_id}, candidate {candidate.candidate_id}",
                fix="strop promote --approve",
            )
        registry.promote(db, candidate.candidate_id, f"run {run_id}: {verdict.reasons[0]}")
    return verdict
