"""Three policies that need no model: what a candidate has to beat to have learned anything.

majority      the most frequent class of the training tasks
keyword       the class whose keyword stands in the newest event's text
last event    the class that the newest event's text most often meant in training

Each one is also graded as a rollout: it makes the calls of the task's reference rollout and answers
as the reference does, with its own class. Only references that are otherwise right can lend their
calls and message, that is those to which the grader gives full marks once the right class is put in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from strop.config import Config
from strop.errors import ConfigError
from strop.promote.compare import as_json, summary
from strop.records import Grade, JsonObject, Rollout, Task, canonical_json, tool_calls_of
from strop.stats.cluster import cluster_mean

Score = Callable[[Sequence[tuple[Task, Rollout]]], list[Grade]]
FULL_MARKS = 0.999


class Reading(msgspec.Struct, frozen=True):
    """How the newest event is read.

    field: dotted path into the tool's result; of a list the last item counts. after: the event's own
    words start behind the first of these (a date and a place stand before). keywords: {words: class},
    the longest that occurs decides; default: the class where none does (None: the majority).
    """

    tool: str
    field: str
    keywords: dict[str, str]
    after: str = ": "
    default: str | None = None

    def text(self, rollout: Rollout) -> str | None:
        """Return the newest event's text in a rollout's tool results, or None where it has none."""
        calls = {c.id for c in tool_calls_of(rollout.messages) if c.name == self.tool}
        for message in rollout.messages:
            if message.role == "tool" and message.tool_call_id in calls:
                found = _at(message.content or "", self.field.split("."))
                return found.split(self.after, 1)[-1] if found is not None and self.after else found
        return None


def read(path: Path) -> Reading:
    """Read the baselines' file. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Reading)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"the baselines' file can't be read: {error}",
            where=str(path),
            fix='expected {"tool": "...", "field": "events", "keywords": {"words": "class"}}',
        ) from error


def baselines(
    train: Sequence[tuple[Task, Rollout]],
    test: Sequence[tuple[Task, Rollout]],
    config: Config,
    *,
    score: Score | None = None,
) -> JsonObject:
    """Return {name: accuracy over all labelled test tasks, grade over those with a sound reference}.

    train, test: tasks with their reference (the teacher's recorded) rollouts. Empty where strop.toml
    has no [baselines]. score: the project's grader; without it only the accuracy is given.
    """
    settings = config.baselines
    if settings.file is None or settings.label is None or settings.answer_field is None:
        return {}
    label, field = settings.label, settings.answer_field
    reading = read(config.path(settings.file))
    known = [(reading.text(r), _truth(t, label)) for t, r in train if _truth(t, label) is not None]
    labelled = [(t, r) for t, r in test if _truth(t, label) is not None]
    if not known or not labelled:
        return {}
    policies = _policies(cast(list[tuple[str | None, str]], known), reading)
    sound = _sound(labelled, label, field, score) if score else []
    out: JsonObject = {}
    for name, answer in policies.items():
        right = [float(answer(reading.text(r)) == _truth(t, label)) for t, r in labelled]
        accuracy = cluster_mean(right, [t.customer for t, _ in labelled])
        out[name] = {"accuracy": as_json(accuracy)}
        if score and sound:
            answered = [(t, with_answer(r, field, answer(reading.text(r)), name)) for t, r in sound]
            grades = score(answered)
            out[name] |= summary([(t, g) for (t, _), g in zip(answered, grades, strict=True)])
    return out


def with_answer(rollout: Rollout, field: str, value: str, policy: str) -> Rollout:
    """Return a rollout whose final answer gives `value` in `field` and is otherwise the same."""
    answer = _object(rollout.final or "")
    final = canonical_json({**answer, field: value}).decode()
    last = msgspec.structs.replace(rollout.messages[-1], content=final)
    return msgspec.structs.replace(
        rollout, policy=policy, final=final, messages=(*rollout.messages[:-1], last)
    )


def _policies(
    known: Sequence[tuple[str | None, str]], reading: Reading
) -> dict[str, Callable[[str | None], str]]:
    majority = Counter(truth for _, truth in known).most_common(1)[0][0]
    meant: dict[str, Counter[str]] = {}
    for text, truth in known:
        if text is not None:
            meant.setdefault(text, Counter())[truth] += 1

    def keyword(text: str | None) -> str:
        lowered = (text or "").casefold()
        hits = [words for words in reading.keywords if words.casefold() in lowered]
        return reading.keywords[max(hits, key=len)] if hits else reading.default or majority

    def last_event(text: str | None) -> str:
        return meant[text].most_common(1)[0][0] if text in meant else majority

    return {"majority": lambda _: majority, "keyword": keyword, "last event": last_event}


def _sound(
    labelled: Sequence[tuple[Task, Rollout]], label: str, field: str, score: Score
) -> list[tuple[Task, Rollout]]:
    usable = [(t, r) for t, r in labelled if r.final is not None and _object(r.final)]
    corrected = [(t, with_answer(r, field, _truth(t, label) or "", "reference")) for t, r in usable]
    return [
        pair
        for pair, grade in zip(usable, score(corrected), strict=True)
        if grade.score is not None and grade.score >= FULL_MARKS
    ]


def _truth(task: Task, label: str) -> str | None:
    value = (task.ground_truth or {}).get(label)
    return None if value is None else str(value)


def _object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _at(text: str, path: Sequence[str]) -> str | None:
    value: Any = _object(text)
    for part in path:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    if isinstance(value, list) and value:
        value = value[-1]
    return value if isinstance(value, str) else None
