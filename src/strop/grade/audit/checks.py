"""From measurements to verdicts: what fails a grader, what warns, and what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from strop.grade.audit.aliasing import Aliasing
from strop.grade.audit.exploits import Examination, Finding
from strop.grade.audit.incentives import Incentive
from strop.grade.audit.shape import Shape
from strop.grade.audit.stability import Stability
from strop.grade.audit.tools import ToolIncentives
from strop.grade.audit.weights import Correlations, EffectiveWeights, Reach

Verdict = Literal["pass", "warn", "fail", "not applicable"]

_ORDER: tuple[Verdict, ...] = ("fail", "warn", "pass")
_FLAT_SHARE = 0.5  # more groups than these without spread, and most of the training's rollouts teach nothing
_SATURATED = 0.95
_PROMPT_SHARE = 0.9  # of the variance between prompts: the score measures the prompt
_APART = 0.15  # between nominal and effective weight
_FLIPS = 0.2
_FALLBACK = 0.5  # of what honest attempts earn


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was examined. what: measured, in words. remedy: what to change, empty where nothing."""

    part: str
    id: str
    name: str
    verdict: Verdict
    what: str
    remedy: str = ""
    component: str | None = None


def overall(checks: Sequence[Check]) -> Verdict:
    """Return the worst verdict."""
    given = {check.verdict for check in checks}
    for verdict in _ORDER:
        if verdict in given:
            return verdict
    return "not applicable"


def of_distribution(found: Shape, attempts: int, *, allow_binary: str | None, budget: float) -> list[Check]:
    """Judge the distribution of honest scores: enough, not constant, not binary."""
    d = found.distribution
    checks: list[Check] = []

    def add(id: str, name: str, verdict: Verdict, what: str, remedy: str = "") -> None:
        checks.append(Check(part="distribution", id=id, name=name, verdict=verdict, what=what, remedy=remedy))

    broken: Verdict = "fail" if attempts - d.n > budget * attempts or d.n == 0 else "pass"
    add(
        "D1", "graded", broken, f"{d.n} of {attempts} honest attempts have a score",
        "see what the grader raised: strop grade" if broken == "fail" else "",
    )  # fmt: skip
    if d.n == 0:
        return checks
    if d.broken == "constant":
        add("D2", "constant", "fail", f"every attempt scores {d.mean:g}", d.remedy)
    elif d.broken == "binary" and allow_binary is None:
        add("D2", "binary", "fail", f"all scores are 0 or 1, mean {d.mean:.3f}", d.remedy)
    else:
        allowed = f"; binary, allowed: {allow_binary}" if d.broken else ""
        add("D2", "not binary", "pass", f"{d.distinct} distinct scores, mean {d.mean:.3f}{allowed}")
    full: Verdict = "warn" if max(d.mass_at_0, d.mass_at_1) > _SATURATED else "pass"
    add(
        "D3", "saturation", full, f"{d.mass_at_1:.0%} of the scores are 1, {d.mass_at_0:.0%} are 0",
        "harder tasks, or a component that still tells good answers apart" if full == "warn" else "",
    )  # fmt: skip
    return checks


def of_spread(found: Shape, *, enough: bool) -> list[Check]:
    """Judge whether groups of attempts at one prompt differ enough to learn from; enough: such prompts."""
    checks: list[Check] = []

    def add(id: str, name: str, verdict: Verdict, what: str, remedy: str = "") -> None:
        checks.append(Check(part="distribution", id=id, name=name, verdict=verdict, what=what, remedy=remedy))

    zero = found.zero_advantage
    if zero.observed is None:
        share = zero.expected_pooled
        what = "each prompt has too few attempts for a group" if share is None else (
            f"no prompt has {zero.group_size} attempts; were all prompts alike, {share:.0%} of groups of "
            f"{zero.group_size} would have no spread"
        )  # fmt: skip
        bad = share is not None and share > _FLAT_SHARE
        add("D4", "groups without spread", "warn" if bad else "not applicable", what, _SPREAD if bad else "")
    else:
        bad = zero.observed > _FLAT_SHARE
        expected = "" if zero.expected_pooled is None else f", {zero.expected_pooled:.0%} expected"
        add(
            "D4", "groups without spread", "warn" if bad else "pass",
            f"{zero.observed:.0%} [{zero.low:.0%}, {zero.high:.0%}] of groups of {zero.group_size} score "
            f"alike, n {zero.prompts} prompts{expected}", _SPREAD if bad else "",
        )  # fmt: skip
    if found.icc is not None and enough:
        bad = found.icc > _PROMPT_SHARE
        add(
            "D5", "measures behaviour", "warn" if bad else "pass",
            f"{found.icc:.0%} of the variance lies between prompts",
            "the score says how hard the prompt is: grade what differs between attempts" if bad else "",
        )  # fmt: skip
    if found.headroom is not None and enough:
        head = found.headroom
        add(
            "D6", "headroom", "pass" if head.mean > 0.01 else "warn",
            f"the best of {found.k} attempts scores {head.mean:+.3f} [{head.low:.3f}, {head.high:.3f}] over "
            f"the mean, n {head.n} prompts",
            "" if head.mean > 0.01 else "attempts hardly differ: practice has little to find",
        )  # fmt: skip
    return checks


_SPREAD = "partial credit, or tasks that are sometimes right: a group that scores alike teaches nothing"


def of_exploits(found: Examination, weights: Mapping[str, float]) -> list[Check]:
    """Turn each family of probes into a check, with the component that paid the worst of them."""
    checks: list[Check] = []
    for family in found.families:
        share = "" if not family.exploits else (
            f" (in all {family.exploits} of {family.probes} probes, 95 % interval "
            f"{family.low:.1%} to {family.high:.1%})"
        )  # fmt: skip
        if family.verdict == "pass":
            share = f", at most {family.high:.1%} could"
        checks.append(
            Check(
                part="exploits",
                id=family.id,
                name=family.name,
                verdict=family.verdict,
                what=f"{family.reason}{share}",
                remedy=family.remedy if family.exploits or family.verdict == "fail" else "",
                component=_paying(family.worst[0], weights) if family.worst else None,
            )
        )
    if found.used == 0 and found.cases:
        checks.append(
            Check(
                part="exploits", id="P00", name="probes", verdict="warn",
                what="no honest attempt is good enough to build probes from: " + "; ".join(found.said),
                remedy="examine with attempts of a better agent, or see why they score low: strop grade",
            )
        )  # fmt: skip
    return checks


def _paying(probe: Finding, weights: Mapping[str, float]) -> str | None:
    """Return the component that gave a probe most, over what the wrong attempt beside it got."""
    beside = probe.held[1] if len(probe.held) > 1 else {}
    gains = {
        name: weights.get(name, 0.0) * (value - beside.get(name, 0.0))
        for name, value in probe.components.items()
    }
    best = max(gains, key=lambda name: gains[name], default=None)
    return best if best is not None and gains[best] > 0 else None


def of_tools(found: ToolIncentives) -> list[Check]:
    """Judge whether calling each tool pays, and what pays without any."""
    checks: list[Check] = []
    verdicts: dict[str, Verdict] = {
        "collapse predicted": "fail", "at risk": "warn", "pays": "pass", "unknown": "not applicable",
    }  # fmt: skip
    for i, tool in enumerate(found.tools, 1):
        what = tool.note or "no figures"
        if tool.q is not None and tool.break_even is not None:
            what = (
                f"{tool.verdict}: {tool.q:.2f} [{tool.q_low:.2f}, {tool.q_high:.2f}] of {tool.calls} calls "
                f"are right, break-even {tool.break_even:.2f}{_span(tool)}"
                + (f"; {tool.note}" if tool.note else "")
            )
        verdict = verdicts[tool.verdict]
        checks.append(
            Check(
                part="tools",
                id=f"T{i}",
                name=tool.tool,
                verdict=verdict,
                what=what,
                remedy=_fix(tool.fix.max_fallback, tool.fix.min_reward, tool.fix.max_penalty)
                if tool.fix and verdict in ("warn", "fail")
                else "",
            )
        )
    if found.fallback is not None:
        f = found.fallback
        rich = f.honest > 0 and f.mean > _FALLBACK * f.honest
        checks.append(
            Check(
                part="tools", id="T0", name="no tool at all", verdict="warn" if rich else "pass",
                what=f"{f.strategy} without any call earns {f.mean:.3f}, the best honest attempts "
                f"{f.honest:.3f}, n {f.n}",
                remedy="gate the score on the calls that the task needs" if rich else "",
            )
        )  # fmt: skip
    return checks


def _span(tool: Incentive) -> str:
    low, high = tool.break_even_low, tool.break_even_high
    return "" if low is None or high is None or low == high else f" [{low:.2f}, {high:.2f}]"


def _fix(fallback: float, reward: float | None, penalty: float | None) -> str:
    ways = [f"let an attempt without the call earn at most {max(fallback, 0.0):.2f}"]
    if reward is not None and reward <= 1:
        ways.append(f"a right one at least {reward:.2f}")
    if penalty is not None:
        ways.append(f"a wrong one at least {-penalty:.2f}")
    return ", or ".join(ways)


def of_weights(
    found: EffectiveWeights,
    pairs: Correlations,
    alias: Aliasing,
    stable: Stability,
    *,
    pooled: bool,
    unexplained: int,
) -> list[Check]:
    """Compare declared weights with what they do. pooled: differences within prompts could not be told."""
    where = "over all prompts" if pooled else "within prompts"
    checks: list[Check] = []

    def add(id: str, name: str, verdict: Verdict, what: str, remedy: str, component: str | None) -> None:
        checks.append(
            Check(
                part="weights", id=id, name=name, verdict=verdict, what=what, remedy=remedy,
                component=component,
            )
        )  # fmt: skip

    if unexplained:
        add(
            "W0", "sum", "warn", f"{unexplained} scores are not the weighted sum that the grader declares",
            "an early return or a later change: then weights tell less than they seem to", None,
        )  # fmt: skip
    for i, c in enumerate(found.components, 1):
        if c.effective is None:
            add(f"W{i}", c.name, "not applicable", f"nominal {c.nominal:.2f}; no spread {where}", "", c.name)
            continue
        span = "" if c.low is None or c.high is None else f" [{c.low:.2f}, {c.high:.2f}]"
        what = f"nominal {c.nominal:.2f}, effective {c.effective:.2f}{span} {where}"
        if c.dead:
            add(f"W{i}", c.name, "warn", what + ": never differs", _DEAD, c.name)
        elif c.effective < -0.02:
            add(f"W{i}", c.name, "warn", what + ": works against the score", _AGAINST, c.name)
        elif abs(c.effective - c.nominal) > _APART:
            add(f"W{i}", c.name, "warn", what, _SHIFTED, c.name)
        else:
            add(f"W{i}", c.name, "pass", what, "", c.name)
    for pair in pairs.doubled:
        add(
            "WC", f"{pair.first} and {pair.second}", "warn", f"rank attempts alike (rho {pair.rho:.2f})",
            "one thing counted twice: merge them, or mean something else by one", pair.second,
        )  # fmt: skip
    if alias.rate is not None:
        add(
            "WA", "aliasing", "warn" if alias.rate > _FLIPS else "pass",
            f"{alias.aliased} of {alias.pairs} pairs of attempts differ in components but not in advantage",
            "weights of which no sum equals another" if alias.rate > _FLIPS else "", None,
        )  # fmt: skip
    if stable.flips is not None and not pooled:
        bad = stable.flips > _FLIPS
        add(
            "WS", "ranking", "warn" if bad else "pass",
            f"weights moved a little change the best attempt in {stable.flips:.0%} of groups",
            "near ties decide: a larger weight for what matters most" if bad else "", None,
        )  # fmt: skip
    return checks


_DEAD = "its weight only moves the mean: drop it, make it a gate, or grade it more finely"
_AGAINST = "where it rises the score falls: check its sign and what it is traded against"
_SHIFTED = "training follows the effective weight: change the weight, or spread the component's values"


def of_reach(found: Reach, outcome: str, *, named: bool) -> Check:
    """Judge whether partial credit can be farmed with the outcome failed; only a warning where it is guessed.

    named: the configuration says that this component is the outcome.
    """
    most = "none failed" if found.failed_max is None else f"the best failure scores {found.failed_max:.3f}"
    what = f"with {outcome} failed {found.theoretical_max:.3f} can be reached; {most}"
    if found.passed_min is not None:
        what += f"; the least honest success {found.passed_min:.3f}"
    verdict: Verdict = "fail" if found.observed and named else "warn" if found.farmable else "pass"
    if found.farmable is None:
        verdict = "not applicable"
    return Check(
        part="weights", id="WR", name="partial credit", verdict=verdict, what=what, component=outcome,
        remedy=f"make {outcome} a gate, or weigh it more than the rest together"
        if verdict in ("warn", "fail") else "",
    )  # fmt: skip
