"""The grader's examination over a project's store, or over a file of attempts."""

from __future__ import annotations

from strop.loop.audit.cases import answer_fields
from strop.loop.audit.examine import audit
from strop.loop.audit.standing import keep, refuse_if_failed, standing

__all__ = ["answer_fields", "audit", "keep", "refuse_if_failed", "standing"]
