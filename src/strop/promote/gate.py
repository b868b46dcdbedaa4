"""The gate: promote, reject, or inconclusive with the n it would need.

Order of the questions: is the evidence sound; is something clearly worse; is everything shown to be
good enough. Promotion needs every bound at once, which keeps the error rate of the whole at most
alpha without a correction. docs/gate.md has the rule, its sources and its measured error rates.
"""

from __future__ import annotations

from typing import Any

import msgspec

from strop.config import Promote
from strop.promote.compare import as_json
from strop.records import JsonObject, Verdict
from strop.stats.cluster import Estimate
from strop.stats.power import needed_n

ROUNDING = 1e-9  # a difference of exactly -margin in decimals must not pass by binary rounding


class Question(msgspec.Struct, frozen=True):
    """Is the difference `estimate` above -margin?"""

    what: str
    estimate: Estimate
    margin: float


def decide(
    report: JsonObject,
    settings: Promote,
    *,
    candidate_id: str,
    of: str = "candidate",
    against: str = "teacher",
    champion: str = "champion",
) -> Verdict:
    """Judge a comparison (the document of `promote.compare.compare`).

    The candidate must not be worse than `against` and, where the report has that arm, than the
    champion. Returns the verdict with reasons in words and the tests as evidence.
    """
    rivals = [name for name in (against, champion) if name in report["arms"]]
    unsound = _unsound(report, settings, of, against)
    if unsound:
        return _verdict("inconclusive", unsound, [], settings, candidate_id, against)
    missed = list(dict.fromkeys(r for other in rivals for r in _misses(report, of, other)))
    if missed:
        # No replay can say how these rollouts would have gone on; a candidate may be worse all the same.
        favoured = [_favoured(report, settings, of, other) for other in rivals]
        worse = [_says(t, settings) for t in favoured if t.estimate.upper(settings.alpha) < -t.margin]
        decision = "reject" if worse else "inconclusive"
        return _verdict(decision, [*worse, *missed], favoured, settings, candidate_id, against)
    tests = _tests(report, settings, of, against)
    if champion in report["arms"]:
        tests += _tests(report, settings, of, champion)
    abandoned = [reason for other in rivals for reason in _abandoned(report, settings, of, other)]
    worse = [_says(t, settings) for t in tests if t.estimate.upper(settings.alpha) < -t.margin]
    if abandoned or worse:
        return _verdict("reject", [*worse, *abandoned], tests, settings, candidate_id, against)
    open_tests = [t for t in tests if t.estimate.lower(settings.alpha) <= -t.margin + ROUNDING]
    if not open_tests:
        reasons = [_says(t, settings) for t in tests]
        return _verdict("promote", reasons, tests, settings, candidate_id, against)
    needs = [needed_n(t.estimate, t.margin, alpha=settings.alpha) for t in open_tests]
    reasons = [f"{_says(t, settings)}; {_need(need)}" for t, need in zip(open_tests, needs, strict=True)]
    known = [need for need in needs if need is not None]
    needed = max(known) if len(known) == len(needs) else None
    return _verdict("inconclusive", reasons, tests, settings, candidate_id, against, needed)


def _tests(report: JsonObject, settings: Promote, of: str, other: str) -> list[Question]:
    pair = report["paired"][f"{of}-{other}"]
    tests = [Question(f"weighted score, {of} - {other}", _estimate(pair["score"]), settings.margin)]
    tests += [
        Question(f"component {name}, {of} - {other}", _estimate(row), settings.component_margin)
        for name, row in pair["components"].items()
    ]
    return tests


def _unsound(report: JsonObject, settings: Promote, of: str, against: str) -> list[str]:
    """Return what keeps this comparison from being evidence at all, in words."""
    for name in (of, against):
        if name not in report["arms"]:
            return [f"there is no {name} in the comparison"]
    limits, reasons = report["limits"], list[str]()
    for key, pair in report["paired"].items():
        other = key.removeprefix(f"{of}-")
        if other not in (against, "champion"):
            continue
        reasons += _unsound_pair(key, pair, limits["failure_budget"], settings)
    return list(dict.fromkeys(reasons))


def _unsound_pair(key: str, pair: JsonObject, budget: float, settings: Promote) -> list[str]:
    reasons: list[str] = []
    tried = pair["pairs"] + pair["excluded"]
    if pair["score"] is None:
        return [f"{key}: no task has a score in both arms"]
    if pair["unpaired"]:
        reasons.append(f"{key}: {pair['unpaired']} tasks were given to one arm only")
    for name, errors in pair["errors"].items():
        if errors > budget * tried:
            share = errors / tried
            reasons.append(
                f"{key}: {errors} of {tried} grades of {name} failed ({share:.1%}, budget {budget:.0%})"
            )
    reasons += [
        f"{key}: no task has component {name} in both arms"
        for name, row in pair["components"].items()
        if row is None
    ]
    clusters = pair["score"]["effective_clusters"]
    if clusters < settings.min_clusters:
        reasons.append(
            f"{key}: {clusters:.1f} effective customers, the interval needs {settings.min_clusters:g}"
        )
    return reasons


def _favoured(report: JsonObject, settings: Promote, of: str, other: str) -> Question:
    what = f"weighted score, {of} - {other}, each unanswered call settled in favour of {of}"
    return Question(what, _estimate(report["paired"][f"{of}-{other}"]["favoured"]), settings.margin)


def _misses(report: JsonObject, of: str, other: str) -> list[str]:
    arms, limits = report["arms"], report["limits"]
    rates = {name: arms[name]["misses"]["rate"] for name in (of, other)}
    reasons = [
        f"{name}: {rate:.1%} of the rollouts called what no recorded result answers "
        f"(at most {limits['max_misses']:.1%})"
        for name, rate in rates.items()
        if rate > limits["max_misses"]
    ]
    gap = abs(rates[of] - rates[other])
    if gap > limits["max_miss_gap"]:
        reasons.append(
            f"{of} and {other} differ by {gap:.1%} in calls without a recorded result "
            f"(at most {limits['max_miss_gap']:.1%})"
        )
    return reasons


def _abandoned(report: JsonObject, settings: Promote, of: str, other: str) -> list[str]:
    mine, theirs = report["arms"][of]["tools"], report["arms"][other]["tools"]
    return [
        f"tool {tool} is abandoned: {of} calls it in {mine.get(tool, 0.0):.1%} of the tasks, "
        f"{other} in {rate:.1%}"
        for tool, rate in theirs.items()
        if rate >= settings.min_tool_rate and mine.get(tool, 0.0) < settings.abandoned_below * rate
    ]


def _says(test: Question, settings: Promote) -> str:
    lower, upper = test.estimate.lower(settings.alpha), test.estimate.upper(settings.alpha)
    relation = "worse" if upper < -test.margin else "not worse" if lower > -test.margin + ROUNDING else "open"
    return (
        f"{test.what}: {test.estimate.mean:+.3f}, bounds {lower:+.3f} to {upper:+.3f} "
        f"(n {test.estimate.n}, {test.estimate.clusters} customers), margin -{test.margin:g}: {relation}"
    )


def _need(needed: int | None) -> str:
    return "more tasks would not settle it" if needed is None else f"about {needed} tasks would settle it"


def _verdict(
    decision: Any,
    reasons: list[str],
    tests: list[Question],
    settings: Promote,
    candidate_id: str,
    against: str,
    needed: int | None = None,
) -> Verdict:
    evidence: JsonObject = {
        "alpha": settings.alpha,
        "tests": [
            {
                "what": t.what,
                "difference": t.estimate.mean,
                "lower": t.estimate.lower(settings.alpha),
                "upper": t.estimate.upper(settings.alpha),
                "margin": t.margin,
                "estimate": as_json(t.estimate),
            }
            for t in tests
        ],
    }
    return Verdict(
        decision=decision,
        reasons=tuple(reasons),
        candidate_id=candidate_id,
        against=against,
        evidence=evidence,
        needed_n=needed,
    )


def _estimate(row: JsonObject) -> Estimate:
    return msgspec.convert({k: v for k, v in row.items() if k != "ci95"}, Estimate)
