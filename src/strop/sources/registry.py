"""Which kinds of source there are: the built-in ones, and those that installed packages add.

A package adds a kind by an entry point in the group `strop.sources`: the kind's name, and a callable with
the signature of `Connect`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Protocol, cast

from strop.config import Source, secret
from strop.errors import ConfigError
from strop.sources.platform import Platform

RECEIVED = ("otlp", "capture")
FILES = (
    "jsonl", "openai-chat", "openai-logs", "langfuse-file", "langfuse-blob", "otlp-file", "temporal-file",
)  # fmt: skip
# The modules are imported when a source of their kind is pulled: most need what the others don't.
_PLATFORMS = {
    "azure": "strop.sources.azure.api:Azure",
    "dbos": "strop.sources.workflows.dbos:Dbos",
    "inngest": "strop.sources.workflows.inngest:Inngest",
    "langfuse": "strop.sources.langfuse.api:Langfuse",
    "langsmith": "strop.sources.langsmith.api:LangSmith",
    "mlflow": "strop.sources.mlflow.api:MLflow",
    "openai-completions": "strop.sources.openai.api:OpenAI",
    "phoenix": "strop.sources.phoenix:Phoenix",
    "postgres": "strop.sources.sql.api:Sql",
    "restate": "strop.sources.workflows.restate:Restate",
    "temporal": "strop.sources.workflows.temporal:Temporal",
    "weave": "strop.sources.weave.api:Weave",
}


class Connect(Protocol):
    """What makes a connector: of a source, and of the values of its user_env and api_key_env."""

    def __call__(self, source: Source, *, user: str | None, key: str | None) -> Platform:
        """Make the connector. Raises ConfigError where the source lacks a key that it needs."""
        ...


def kinds() -> list[str]:
    """Return the kinds of source that this installation knows, sorted."""
    added = {point.name for point in entry_points(group="strop.sources")}
    return sorted({*RECEIVED, *FILES, *_PLATFORMS, *added})


def check(sources: Iterable[Source]) -> None:
    """Raise ConfigError for a source of an unknown kind, naming the nearest one."""
    known = kinds()
    for source in sources:
        if source.kind not in known:
            near = difflib.get_close_matches(source.kind, known, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"source {source.name}: there is no kind {source.kind!r}",
                where="strop.toml, [[sources]]",
                fix=f"{meant}kinds: {', '.join(known)}",
            )


def connect(source: Source) -> Platform:
    """Make the connector of a platform source, with its secrets from the environment."""
    for point in entry_points(group="strop.sources"):
        if point.name == source.kind:
            make = cast(Connect, point.load())
            break
    else:
        module, _, name = _PLATFORMS[source.kind].partition(":")
        make = cast(Connect, getattr(importlib.import_module(module), name))
    return make(source, user=_secret(source, source.user_env), key=_secret(source, source.api_key_env))


def _secret(source: Source, variable: str | None) -> str | None:
    value = secret(variable)
    if variable is not None and not value:
        raise ConfigError(
            f"source {source.name}: the environment variable {variable} is not set",
            where="strop.toml, [[sources]]",
            fix=f"export {variable}=...",
        )
    return value
