"""The tables. A change is a new numbered function in migrations.py, never an edit of an old one."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()

migrations = Table("migrations", metadata, Column("number", Integer, primary_key=True))

# One row a recorded run, redacted. body: msgspec JSON of records.Trace. Copies of one trace share its
# hash; readers take the first.
traces = Table(
    "traces",
    metadata,
    Column("project", String, nullable=False),
    Column("source", String, nullable=False),
    Column("source_id", String, nullable=False),
    Column("trace_hash", String(64), nullable=False),
    Column("customer", String),
    Column("workflow_id", String),
    Column("session_id", String),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("model", String),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("project", "source", "source_id"),
)
Index("traces_hash", traces.c.project, traces.c.trace_hash)
# Readers go through the traces in the order of time; sorting would move every body.
TRACE_ORDER = Index(
    "traces_order", traces.c.project, traces.c.started_at, traces.c.source, traces.c.source_id
)
TRACE_TARGETS = (
    Index("traces_source_id", traces.c.project, traces.c.source_id),
    Index("traces_workflow", traces.c.project, traces.c.workflow_id),
    Index("traces_session", traces.c.project, traces.c.session_id),
)

# What curation decided about each unique trace: permanent group and split.
curated = Table(
    "curated",
    metadata,
    Column("project", String, nullable=False),
    Column("trace_hash", String(64), nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("group_id", String, nullable=False),
    Column("split", String, nullable=False),
    Column("weight", Float),  # in training; none stands for 1
    PrimaryKeyConstraint("project", "trace_hash"),
)

# A group's split never changes once written: a test group is never trained on later.
splits = Table(
    "splits",
    metadata,
    Column("project", String, nullable=False),
    Column("group_id", String, nullable=False),
    Column("split", String, nullable=False),
    PrimaryKeyConstraint("project", "group_id"),
)

skipped = Table(
    "skipped",
    metadata,
    Column("project", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("item", String, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("project", "stage", "item"),
)

# Where a pull stands: a window that is not done is fetched again.
pull_windows = Table(
    "pull_windows",
    metadata,
    Column("project", String, nullable=False),
    Column("source", String, nullable=False),
    Column("window", String, nullable=False),
    Column("cursor", Text),
    Column("done", Boolean, nullable=False),
    PrimaryKeyConstraint("project", "source", "window"),
)

# Scores that were read apart from their traces, redacted, until the trace they belong to is there.
# kind: what target is the id of: trace, session or workflow.
late_scores = Table(
    "late_scores",
    metadata,
    Column("project", String, nullable=False),
    Column("source", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("target", String, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("attached", Boolean, nullable=False),
    PrimaryKeyConstraint("project", "source", "kind", "target", "digest"),
)

# Keyed HMAC of each identity, for leak checks and deletion requests; the value itself is nowhere.
identities = Table(
    "identities",
    metadata,
    Column("project", String, nullable=False),
    Column("hmac", String(64), nullable=False),
    Column("kind", String, nullable=False),
    Column("trace_hash", String(64), nullable=False),
    PrimaryKeyConstraint("project", "hmac", "trace_hash"),
)

labels = Table(
    "labels",
    metadata,
    Column("project", String, nullable=False),
    Column("trace_hash", String(64), nullable=False),
    Column("ground_truth", Text, nullable=False),
    PrimaryKeyConstraint("project", "trace_hash"),
)

# subject: a trace hash ("offline") or a rollout's content hash. Graded once for a grader hash.
grades = Table(
    "grades",
    metadata,
    Column("project", String, nullable=False),
    Column("grader_hash", String(64), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("score", Float),
    Column("components", Text, nullable=False),
    Column("error", Text),
    Column("floored", Boolean, nullable=False),
    Column("forged", Boolean, nullable=False),
    Column("feedback", Text),
    PrimaryKeyConstraint("project", "grader_hash", "subject"),
)

# Content-addressed verdicts: a paid call to a judge or a grading model is never repeated.
judgements = Table(
    "judgements",
    metadata,
    Column("project", String, nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("judge", String, nullable=False),
    Column("verdict", Boolean),
    Column("reason", Text, nullable=False),
    Column("latency_s", Float, nullable=False),
    Column("usd", Float, nullable=False),
    Column("value", Float),  # instead of a verdict, where it is a number
    PrimaryKeyConstraint("project", "request_hash"),
)

# Versions of the grader in the order of their use.
graders = Table(
    "graders",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("grader_hash", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("at", String, nullable=False),
)

candidates = Table(
    "candidates",
    metadata,
    Column("project", String, nullable=False),
    Column("candidate_id", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("lineage", Text, nullable=False),
    PrimaryKeyConstraint("project", "candidate_id"),
)

# Aliases ("champion", "previous") as a history: the newest row of an alias is in force.
aliases = Table(
    "aliases",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("candidate_id", String(64)),
    Column("at", String, nullable=False),
    Column("why", Text, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("candidate_id", String(64), nullable=False),
    Column("decision", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", String, nullable=False),
)
