"""Support answers from a handbook, graded mostly by judges."""

from __future__ import annotations

import random

from forty.handbook import FACTS, HANDOVER, LEGAL, Fact, handbook
from forty.judges import complete_pass, courteous, facts_right, quality_pass, reasoned_pass, thorough_pass
from forty.world import Attempt, Kind, Simulated, World, plan, rollout, task
from strop.records import JsonObject, Rollout, Task

NAME = "support"
SYSTEM = (
    "You answer support questions from this handbook. {book} Legal questions go to the legal team. "
    "Correct a wrong assumption. Reply with JSON: answer (a greeting and full sentences, 85 words at "
    "most), topic ({topics}), escalate (true for legal questions only)."
)
EXTRA = (
    "We are glad to help you with that.",
    "Thank you for asking us first.",
    "Thank you for your patience while we looked that up for you.",
    "If anything else comes to your mind, just write to us again at any time.",
    "Our team is happy to take care of everything else that you may need from us.",
    "Many people ask us about this, so we have also put it on our website for you.",
)


def build() -> Simulated:
    """Build the world: 66 questions, seven attempts each."""
    rng = random.Random(20265)
    topics = ", ".join([*(f.topic for f in FACTS), "legal"])
    system = SYSTEM.format(book=handbook(), topics=topics)
    cases: list[tuple[Task, tuple[Rollout, ...]]] = []
    quality: dict[str, tuple[float, ...]] = {}
    for number in range(66):
        fact = None if number % 8 == 7 else rng.choice(FACTS)
        false_premise = fact is not None and rng.random() < 0.3
        if fact is None:
            asked = rng.choice(LEGAL)
        else:
            asked = fact.premise if false_premise else rng.choice(fact.asked)
        inquiry = f"{asked} My customer number is {rng.randrange(10**5, 10**6)}."
        truth = _truth(fact)
        about = task(NAME, number, system, inquiry, (), truth)
        attempts = [_attempt(rng, fact, kind) for kind in plan(rng)]
        cases.append((about, tuple(rollout(about, a) for a in attempts)))
        quality[about.task_id] = tuple(a.quality for a in attempts)
    world = World(
        name=NAME,
        extract=("answer", "topic", "escalate"),
        cases=tuple(cases),
        judges={
            "facts_right": facts_right,
            "courteous": courteous,
            "quality_pass": quality_pass,
            "reasoned_pass": reasoned_pass,
            "complete_pass": complete_pass,
            "thorough_pass": thorough_pass,
        },
        judge_fields={
            "facts_right": "answer",
            "courteous": "answer",
            "quality_pass": "answer",
            "reasoned_pass": None,
            "complete_pass": None,
            "thorough_pass": "answer",
        },
        reads=frozenset(),
        writes=frozenset(),
    )
    return Simulated(world, quality)


def _truth(fact: Fact | None) -> JsonObject:
    if fact is None:
        return {
            "topic": "legal",
            "value": "",
            "must_mention": ["colleague", "legal team"],
            "escalate": True,
            "reference": f"Hello, {HANDOVER}",
        }
    return {
        "topic": fact.topic,
        "value": fact.value,
        "must_mention": [fact.value, fact.condition],
        "escalate": False,
        "reference": f"Hello, {fact.says.format(v=fact.value)} {fact.then}",
    }


def _attempt(rng: random.Random, fact: Fact | None, kind: Kind) -> Attempt:
    topic = "legal" if fact is None else fact.topic
    said = [HANDOVER] if fact is None else [fact.says.format(v=fact.value), fact.then]
    if kind == "good":
        length = rng.choice((0, 0, 1, 1, 2, 4))
        answer = _reply(rng, [*said, *rng.sample(EXTRA, length)])
        return Attempt(1.0, (), _final(answer, topic))
    if kind == "slip":
        if rng.random() < 0.7:
            curt = " ".join(said)
            return Attempt(0.8, (), _final(curt[0].upper() + curt[1:], topic))
        answer = _reply(rng, said)
        return Attempt(0.85, (), {**_final(answer, topic), "topic": f"{topic} question"})
    return _wrong(rng, fact, topic)


def _wrong(rng: random.Random, fact: Fact | None, topic: str) -> Attempt:
    other = rng.choice([f for f in FACTS if f is not fact])
    extra = rng.sample(EXTRA, rng.choice((0, 1)))
    elsewhere = [other.says.format(v=other.value), other.then, *extra]
    if fact is None:
        answer = _final(_reply(rng, elsewhere), other.topic)
        return Attempt(0.1, (), answer)
    fault = rng.choice(("value", "vague", "vague", "no condition", "topic", "topic", "handed over"))
    if fault == "value":
        answer = _final(_reply(rng, [fact.says.format(v=fact.wrong), fact.then, *extra]), topic)
        return Attempt(0.3, (), answer)
    if fault == "vague":
        said = ["that depends on your order.", "Please see our terms on the website for that.", *extra]
        return Attempt(0.15, (), _final(_reply(rng, said), topic))
    if fault == "no condition":
        return Attempt(0.5, (), _final(_reply(rng, [fact.says.format(v=fact.value), *extra]), topic))
    if fault == "topic":
        return Attempt(0.1, (), _final(_reply(rng, elsewhere), other.topic))
    return Attempt(0.2, (), {**_final(_reply(rng, [HANDOVER]), "legal"), "escalate": True})


def _reply(rng: random.Random, sentences: list[str]) -> str:
    return rng.choice(("Hello, ", "Good day, ", "Hi, ")) + " ".join(sentences)


def _final(answer: str, topic: str) -> JsonObject:
    return {"answer": answer, "topic": topic, "escalate": topic == "legal"}
