"""Weave's feedback -> scores: reactions, notes, annotations, scorers' results, tags, ratings, own kinds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

from strop.records import JsonObject, Score
from strop.sources.weave.rows import inner

_Source = Literal["human", "llm", "code", "end_user"]
_THUMBS = {"thumbs_up": True, "+1": True, "thumbsup": True, "👍": True,
           "thumbs_down": False, "-1": False, "thumbsdown": False, "👎": False}  # fmt: skip


def scorer_runs(rows: Iterable[JsonObject]) -> set[str]:
    """Return the ids of calls that are scorers' own runs, as the feedback they gave says."""
    refs = [item.get("call_ref") for row in rows for item in feedback_of(row)]
    return {ref.rsplit("/", 1)[-1] for ref in refs if isinstance(ref, str)}


def feedback_of(row: JsonObject) -> list[JsonObject]:
    """Return the feedback that came with a call (`include_feedback`)."""
    items = inner(row, "summary", "weave", "feedback")
    listed = cast("list[Any]", items) if isinstance(items, list) else []
    return [cast(JsonObject, item) for item in listed if isinstance(item, dict)]


def read_feedback(item: JsonObject) -> list[Score]:
    """Read one feedback: reactions, notes, annotations, scorers' results, tags and ratings, own kinds.

    A thumb is a truth value. Feedback with a `creator` came through the API in an end user's name; without
    one it is the work of whoever was logged in.
    """
    kind, payload = str(item.get("feedback_type") or "feedback"), item.get("payload")
    fields = cast(JsonObject, payload) if isinstance(payload, dict) else {}
    people: Literal["end_user", "human"] = "end_user" if item.get("creator") else "human"
    if kind.startswith("wandb.reaction"):
        alias = fields.get("detoned_alias") or fields.get("alias") or fields.get("emoji") or ""
        alias = str(alias).strip(":")
        return _scores("reaction", _THUMBS.get(alias, alias), people)
    if kind.startswith("wandb.note"):
        return _scores("note", fields.get("note"), people)
    if kind.startswith("wandb.annotation."):
        return _scores(kind.removeprefix("wandb.annotation."), fields.get("value"), people)
    if kind.startswith("wandb.runnable."):
        return _scores(kind.removeprefix("wandb.runnable."), fields.get("output"), "code")
    if kind.startswith("wandb.agent_"):
        return _tags_and_ratings(item, "code" if "monitor" in kind else people)
    return _scores(kind, fields, people)


def _scores(name: str, value: Any, source: _Source, depth: int = 0) -> list[Score]:
    if isinstance(value, dict) and depth < 3:
        scores: list[Score] = []
        for key, part in cast(JsonObject, value).items():
            full = name if key in ("value", "output") else f"{name}.{key}"
            scores += _scores(full, part, source, depth + 1)
        return scores
    if isinstance(value, bool | str) and value != "":
        return [Score(name, value, source)]
    if isinstance(value, int | float):
        try:
            return [Score(name, float(value), source)]
        except OverflowError:
            return [Score(name, str(value), source)]
    return []


def _tags_and_ratings(item: JsonObject, source: _Source) -> list[Score]:
    scores: list[Score] = []
    tags, ratings = item.get("scorer_tags"), item.get("scorer_ratings")
    for tag in cast("list[Any]", tags) if isinstance(tags, list) else []:
        reason = inner(item, "scorer_tag_reasons", str(tag))
        scores.append(Score(str(tag), True, source, reason if isinstance(reason, str) else ""))
    for name, rating in cast(JsonObject, ratings).items() if isinstance(ratings, dict) else ():
        reason = inner(item, "scorer_rating_reasons", name)
        found = _scores("rating" if name == "_rating_" else name, rating, source)
        scores += [Score(s.name, s.value, source, reason if isinstance(reason, str) else "") for s in found]
    return scores
