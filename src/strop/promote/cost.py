"""Cost per correctly resolved ticket: what all tickets cost, over those that came out right."""

from __future__ import annotations

import math
from collections.abc import Mapping

from strop.config import Config, Machine, Teacher
from strop.promote.behaviour import latency, tokens
from strop.promote.compare import Arm
from strop.records import Grade, JsonObject
from strop.stats.cluster import Estimate, cluster_mean

RESOLVED_SCORE = 0.9
_DAYS_A_MONTH = 30
_SECONDS_A_DAY = 86_400


def resolved(grade: Grade, weights: Mapping[str, float]) -> bool:
    """Return whether a ticket came out right.

    That is: the component of the largest weight is 1 (the outcome); for a grader without readable
    components, a score of at least 0.9. A grade with an error is not a ticket and not asked here.
    """
    known = {name: weight for name, weight in weights.items() if name in grade.components}
    if known:
        return grade.components[max(known, key=lambda name: known[name])] >= 1.0
    return (grade.score or 0.0) >= RESOLVED_SCORE


def cost(
    teacher: Arm,
    candidate: Arm,
    config: Config,
    *,
    weights: Mapping[str, float],
    train_seconds: float,
    seconds_per_ticket: float | None = None,
) -> JsonObject:
    """Return cost per resolved ticket of both arms in US dollars, with the formulas in figures.

    seconds_per_ticket: measured serving time; default the candidate arm's mean rollout. A machine is
    taken to work on one ticket at a time with all its cores, so more machines are counted where the
    tickets of a day take longer than a day.
    """
    seconds = seconds_per_ticket or latency(candidate.rollouts)["mean_s"] or 0.0
    teacher_right, candidate_right = _right(teacher, weights), _right(candidate, weights)
    share_teacher = teacher_right.mean if teacher_right else 0.0
    share_candidate = candidate_right.mean if candidate_right else 0.0
    scenario = _teacher_scenario(config.teacher, share_teacher)
    out: JsonObject = {
        "resolved": {
            "rule": _rule(weights),
            "teacher": share_teacher,
            "candidate": share_candidate,
            "ci95": {
                a.name: [right.low, right.high] if right else None
                for a, right in ((teacher, teacher_right), (candidate, candidate_right))
            },
            "ungraded": {a.name: sum(g.score is None for g in a.grades) for a in (teacher, candidate)},
        },
        "teacher_scenario": scenario,
        "teacher_list_price": _teacher_list(config.teacher, teacher, share_teacher),
        "candidate_machine": _candidate_machine(config.machine, share_candidate, seconds, train_seconds),
        "candidate_marginal": _candidate_marginal(config.machine, share_candidate, seconds),
    }
    out["ratio"] = {
        key: _ratio(scenario["usd"], out[key]["usd"]) for key in ("candidate_machine", "candidate_marginal")
    }
    return out


def _right(arm: Arm, weights: Mapping[str, float]) -> Estimate | None:
    graded = [(t, g) for t, g in zip(arm.tasks, arm.grades, strict=True) if g.score is not None]
    if not graded:
        return None
    return cluster_mean([float(resolved(g, weights)) for _, g in graded], [t.customer for t, _ in graded])


def _rule(weights: Mapping[str, float]) -> str:
    if weights:
        return f"component {max(weights, key=lambda name: weights[name])} is 1"
    return f"score at least {RESOLVED_SCORE}"


def _teacher_scenario(teacher: Teacher, share: float) -> JsonObject:
    return _line(
        teacher.usd_per_ticket,
        share,
        f"${teacher.usd_per_ticket:.4f} a ticket (scenario) / {share:.3f} resolved",
    )


def _teacher_list(teacher: Teacher, arm: Arm, share: float) -> JsonObject:
    used = tokens(arm.rollouts)
    prompt, completion = used["prompt_per_task"], used["completion_per_task"]
    usd = (
        prompt * teacher.usd_per_million_prompt / 1e6 + completion * teacher.usd_per_million_completion / 1e6
    )
    text = (
        f"({prompt:.0f} prompt tokens x ${teacher.usd_per_million_prompt:g}/M + {completion:.0f} completion "
        f"tokens x ${teacher.usd_per_million_completion:g}/M) / {share:.3f} resolved ({teacher.price_list})"
    )
    return _line(usd, share, text)


def _candidate_machine(machine: Machine, share: float, seconds: float, train_seconds: float) -> JsonObject:
    machines = max(1, math.ceil(machine.tickets_per_day * seconds / _SECONDS_A_DAY))
    serving = machines * machine.usd_per_month / (machine.tickets_per_day * _DAYS_A_MONTH)
    training_usd = train_seconds * _usd_per_second(machine)
    training = training_usd / (machine.tickets_per_day * machine.amortise_days)
    text = (
        f"({machines} x ${machine.usd_per_month:g} a month / ({machine.tickets_per_day:g} tickets x "
        f"{_DAYS_A_MONTH} days) + training {train_seconds:.0f} s = ${training_usd:.4f} / "
        f"({machine.tickets_per_day:g} tickets x {machine.amortise_days} days)) / {share:.3f} resolved"
    )
    return {**_line(serving + training, share, text), "machines": machines}


def _candidate_marginal(machine: Machine, share: float, seconds: float) -> JsonObject:
    cpu = seconds * machine.cores
    usd = seconds * _usd_per_second(machine)
    price = _usd_per_second(machine) / machine.cores
    text = (
        f"{seconds:.2f} s x {machine.cores} cores = {cpu:.2f} CPU s x ${price:.3g} a CPU second "
        f"(${machine.usd_per_month:g} a month) / {share:.3f} resolved"
    )
    return {**_line(usd, share, text), "cpu_seconds": cpu}


def _usd_per_second(machine: Machine) -> float:
    return machine.usd_per_month / (_DAYS_A_MONTH * _SECONDS_A_DAY)


def _line(usd_per_ticket: float, share: float, formula: str) -> JsonObject:
    usd = usd_per_ticket / share if share > 0 else None
    result = "nothing resolved" if usd is None else f"${usd:.6f}"
    return {"usd": usd, "usd_per_ticket": usd_per_ticket, "formula": f"{formula} = {result}"}


def _ratio(reference: float | None, usd: float | None) -> float | None:
    return reference / usd if reference is not None and usd else None
