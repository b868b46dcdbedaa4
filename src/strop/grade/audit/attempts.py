"""Honest attempts from a file, and their grades as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from strop.errors import InputError
from strop.grade.audit.cases import Case
from strop.records import Grade, JsonObject, Message, Rollout, Task, Tool

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_MOST_MB = 64


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Graded attempts as arrays: P prompts, at most G attempts each, K components.

    scores_P_G: NaN where there is no attempt or no score. components_P_G_K: what each component adds for its
    weight, so 0 for one behind a closed gate; NaN where the grader gave no such component. closed_P_G: a
    gate did not hold. repeated: prompts with two scores or more; without any, differences within a prompt
    can't be told.
    """

    names: tuple[str, ...]
    weights_K: Floats
    scores_P_G: Floats
    components_P_G_K: Floats
    closed_P_G: Mask

    @property
    def repeated(self) -> int:
        """Count the prompts with at least two scores."""
        return int(((~np.isnan(self.scores_P_G)).sum(axis=1) >= 2).sum())

    @property
    def graded(self) -> int:
        """Count the scores."""
        return int((~np.isnan(self.scores_P_G)).sum())

    def pooled(self) -> Table:
        """Return all attempts as one group, as if they answered one prompt."""
        return msgspec.structs.replace(
            self,
            scores_P_G=self.scores_P_G.reshape(1, -1),
            components_P_G_K=self.components_P_G_K.reshape(1, -1, len(self.names)),
            closed_P_G=self.closed_P_G.reshape(1, -1),
        )

    def unexplained(self) -> int:
        """Count the scores that are not the weighted sum of their components."""
        if not self.names:
            return 0
        total = (self.components_P_G_K * self.weights_K).sum(axis=2)
        both = ~np.isnan(self.scores_P_G) & ~np.isnan(total)
        return int((np.abs(total - self.scores_P_G)[both] > 1e-6).sum())


def tabulate(
    grades: Sequence[Sequence[Grade]], weights: Mapping[str, float], gates: Mapping[str, float]
) -> Table:
    """Return each prompt's grades as arrays; weights and gates are those that the grader declares."""
    names = tuple(weights)
    shape = (len(grades), max((len(row) for row in grades), default=0))
    scores = np.full(shape, np.nan)
    components = np.full((*shape, len(names)), np.nan)
    closed = np.zeros(shape, dtype=np.bool_)
    for p, row in enumerate(grades):
        for g, grade in enumerate(row):
            if grade.score is None:
                continue
            scores[p, g] = grade.score
            closed[p, g] = any(grade.components.get(name, 1.0) < least for name, least in gates.items())
            for k, name in enumerate(names):
                lost = closed[p, g] and name not in gates
                components[p, g, k] = 0.0 if lost else grade.components.get(name, np.nan)
    return Table(
        names=names,
        weights_K=np.array(list(weights.values()), dtype=np.float64),
        scores_P_G=scores,
        components_P_G_K=components,
        closed_P_G=closed,
    )


def read_attempts(path: Path) -> tuple[Case, ...]:
    """Read honest attempts from JSONL, one prompt a line.

    {"prompt": [messages], "tools": [...], "ground_truth": {...}, "attempts": [[messages], ...]} with messages
    and tools in the form of OpenAI's chat API; an attempt's final answer is its last assistant message, if
    that calls no tool. Raises InputError, naming the line.
    """
    try:
        if path.stat().st_size > _MOST_MB << 20:
            raise InputError(f"the file is over {_MOST_MB} MB", where=str(path), fix="a few hundred will do")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the attempts can't be read: {error}", where=str(path)) from error
    cases = tuple(_cases(text, path))
    if not cases:
        raise InputError("the file holds no attempts", where=str(path), fix="one prompt a line, as JSON")
    return cases


def _cases(text: str, path: Path) -> Iterator[Case]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _case(json.loads(line), number)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise InputError(
                f"line {number} is no prompt with attempts: {_why(error)}",
                where=f"{path}:{number}",
                fix='{"prompt": [...], "tools": [...], "ground_truth": {...}, "attempts": [[...], ...]}',
            ) from error


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _case(raw: Any, number: int) -> Case:
    if not isinstance(raw, dict):
        raise ValueError("a JSON object is needed")
    line: JsonObject = raw
    truth = line["ground_truth"]
    if not isinstance(truth, dict):
        raise ValueError("ground_truth is a JSON object")
    prompt = tuple(Message.from_openai(m) for m in line["prompt"])
    if not any(m.role == "user" for m in prompt):
        raise ValueError("the prompt has no user message")
    name = str(line.get("id") or f"line-{number}")
    task = Task(
        task_id=name,
        messages=prompt,
        tools=tuple(Tool.from_openai(t) for t in line.get("tools") or ()),
        customer=str(line.get("customer") or "unknown"),
        group=str(line.get("group") or name),
        split="train",
        at=number,
        ground_truth=truth,
    )
    attempts = line["attempts"]
    if not isinstance(attempts, list):
        raise ValueError("attempts is a list of conversations")
    return Case(task, tuple(_rollout(task, attempt) for attempt in attempts))


def _rollout(task: Task, raw: Any) -> Rollout:
    messages = tuple(Message.from_openai(m) for m in raw)
    last = messages[-1] if messages else None
    ends = last is not None and last.role == "assistant" and not last.tool_calls
    return Rollout(
        task_id=task.task_id,
        policy="recorded",
        messages=messages,
        final=last.content if ends and last is not None else None,
        turns=sum(m.role == "assistant" for m in messages),
    )
