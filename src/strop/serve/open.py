"""From strop.toml to a server: the promoted model, capture and the receiver behind one app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from strop.config import Config, secret
from strop.errors import ConfigError, InputError
from strop.loop.landing import land, land_scores
from strop.models.chat import ChatModel
from strop.promote.registry import CHAMPION, champion
from strop.records import Candidate, Skipped, Trace
from strop.serve.access import usable_key
from strop.serve.app import build
from strop.serve.capture import Capture
from strop.serve.fallback import Fallback
from strop.sources.otlp.receiver import Receiver
from strop.sources.platform import LateScore
from strop.store import Database
from strop.store.registry import load_candidate

Load = Callable[[Path], ChatModel]


def open_app(
    config: Config,
    db: Database,
    *,
    candidate_id: str | None = None,
    no_key: bool = False,
    load: Load | None = None,
    environ: Mapping[str, str] | None = None,
) -> FastAPI:
    """Return the app of a project: its champion (or the candidate named), capture, fallback, receiver.

    Before the first promotion it only receives traces. no_key: serve loopback without a key.
    load: how weights become a model. Raises ConfigError without a key, InputError for an unknown
    candidate.
    """
    serve = config.serve
    key = usable_key(
        secret(serve.api_key_env, environ), variable=serve.api_key_env, host=serve.host, no_key=no_key
    )
    served = _served(db, candidate_id)
    models: dict[str, ChatModel] = {}
    aliases: dict[str, str] = {}
    if served is not None:
        models[served.candidate_id] = (load or _local(config))(config.path(served.path))
        in_force = champion(db)
        if in_force is not None and in_force.candidate_id == served.candidate_id:
            aliases[CHAMPION] = served.candidate_id
        aliases.update(dict.fromkeys(serve.names, served.candidate_id))

    def sink(traces: list[Trace], skipped: list[Skipped]) -> None:
        land(db, config, traces, skipped)

    def late(source: str, scores: list[LateScore]) -> None:
        land_scores(db, config, source, scores)

    return build(
        config,
        models,
        aliases=aliases,
        key=key,
        receiver=_receiver(config, sink, late),
        capture=Capture(sink) if serve.capture else None,
        fallback=Fallback(
            serve.fallback, model=config.teacher.name, key=secret(serve.fallback_api_key_env, environ)
        )
        if serve.fallback
        else None,
    )


def _served(db: Database, candidate_id: str | None) -> Candidate | None:
    if candidate_id is None:
        return champion(db)
    candidate = load_candidate(db, candidate_id)
    if candidate is None:
        raise InputError(
            f"there is no candidate {candidate_id}", where=f"project {db.project}", fix="strop status"
        )
    return candidate


def _receiver(
    config: Config,
    sink: Callable[[list[Trace], list[Skipped]], None],
    late: Callable[[str, list[LateScore]], None],
) -> Receiver | None:
    """Return the receiver of the first OTLP source, or None where strop.toml names none."""
    for source in config.sources:
        if source.kind == "otlp":
            return Receiver(
                sink,
                source=source.name,
                scores=partial(late, source.name),
                customer_key=source.customer_key,
                max_trace_mb=source.max_trace_mb,
            )
    return None


def _local(config: Config) -> Load:
    try:
        from strop.models.local import LocalModel
    except ImportError as error:
        raise ConfigError(
            f"the local engine is not installed: {error}", fix="pip install 'strop[train]'"
        ) from error
    return lambda folder: LocalModel.load(folder, threads=config.train.threads)
