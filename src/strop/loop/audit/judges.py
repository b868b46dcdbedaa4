"""The project's judges asked again, and about answers that only look different."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from strop.config import Config
from strop.grade.audit.cases import Case
from strop.grade.audit.checks import Check
from strop.grade.audit.metamorphic import Said, metamorphic, self_consistency
from strop.grade.extract import judged_text, view_of_rollout
from strop.grade.judge import Verdict
from strop.grade.pairwise import Pair, Tally, compare_pairs, tally
from strop.grade.scorer import Scorer
from strop.stats.proportion import clopper_pearson

_TIMES = 3


def judges(
    config: Config, document: dict[str, Any], cases: Sequence[Case], groups: Sequence[Case], scorer: Scorer
) -> list[Check]:
    """Ask each judge about one attempt a case, three times, and about padded, praised, reordered ones.

    groups: several attempts a prompt, of which two are compared in both orders.
    """
    fields = config.grade.extract
    views = [view_of_rollout(case.task, case.rollouts[0], fields) for case in cases if case.rollouts]
    found: dict[str, Any] = {}
    checks: list[Check] = []
    for i, (name, judge) in enumerate(sorted(config.judges.items()), 1):
        pairs = [(v.inquiry, text) for v in views if (text := judged_text(v, judge.field)) is not None]
        rounds = [scorer.judges.ask(name, pairs, again=again) for again in range(_TIMES)]
        mind = self_consistency([[_said(v) for v in row] for row in zip(*rounds, strict=True)])
        relations = metamorphic(partial(_one, scorer, name), pairs)
        found[name] = {
            "self_consistency": msgspec.to_builtins(mind),
            "relations": [msgspec.to_builtins(r) for r in relations],
        }
        steady = mind.unanimous == mind.questions
        remedy = "" if steady else "temperature 0, a sharper rubric, or a rule: practice would rank its moods"
        checks.append(_check(f"J{i}", f"{name}, asked again", mind.verdict, mind.reason, remedy))
        for relation in relations:
            remedy = "say in its rubric what does not count, or use a rule" if relation.violations else ""
            checks.append(
                _check(f"J{i}", f"{name}, {relation.name}", relation.verdict, relation.reason, remedy)
            )
        pairs_found, check = _orders(config, name, groups, len(cases), scorer)
        found[name]["order"] = msgspec.to_builtins(pairs_found)
        checks.append(msgspec.structs.replace(check, id=f"J{i}"))
    document["asked_judges"] = found
    return checks


def _orders(
    config: Config, name: str, groups: Sequence[Case], most: int, scorer: Scorer
) -> tuple[Tally, Check]:
    """Ask which of two attempts is better, in both orders: who stands first must not matter."""
    pairs: list[Pair] = []
    field = config.judges[name].field
    for case in groups:
        views = [view_of_rollout(case.task, r, config.grade.extract) for r in case.rollouts]
        texts = list(dict.fromkeys(t for v in views if (t := judged_text(v, field)) is not None))
        if len(texts) > 1:
            pairs.append(Pair(views[0].inquiry, texts[0], texts[-1]))
    told = tally(compare_pairs(scorer.judges, name, pairs[:most]))
    asked = told.first + told.second + told.ties
    low, high = clopper_pearson(told.order_sensitive, asked)
    what = (
        f"{told.order_sensitive} of {asked} pairs got the same place in both orders, "
        f"95 % interval {low:.0%} to {high:.0%}"
    )
    verdict: Any = "warn" if told.order_sensitive else "pass"
    if not asked:
        verdict, what = "not applicable", "no prompt has two different attempts that it could compare"
    remedy = "never let it compare in one order only" if told.order_sensitive else ""
    return told, _check("J", f"{name}, order of a pair", verdict, what, remedy)


def _one(scorer: Scorer, name: str, inquiry: str, answer: str) -> Said:
    return _said(scorer.judges.ask(name, [(inquiry, answer)])[0])


def _said(verdict: Verdict | str) -> Said:
    return None if isinstance(verdict, str) else verdict


def _check(id: str, name: str, verdict: Any, what: str, remedy: str) -> Check:
    bad = verdict in ("warn", "fail")
    return Check(part="agreement", id=id, name=name, verdict=verdict, what=what, remedy=remedy if bad else "")
