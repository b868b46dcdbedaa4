"""Does the grader agree with people, with a grader it never trained, and a judge with its reference?

Every label is a pair of its own, set against the score of its answer: where people contradict each other no
grader can agree with all of them, and the figures say so. Errors are taken to correlate within a cluster,
by default the prompt. Agreement is necessary, not sufficient: what a grader rewards beyond it, the probes
and the preview tell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from strop.stats.agreement import Kappa, WithinSpearman, cohen_kappa, within_spearman
from strop.stats.alt_test import AltTest, alt_test
from strop.stats.auc import Auc, auc
from strop.stats.cluster import Estimate, cluster_mean
from strop.stats.krippendorff import Alpha, krippendorff_alpha
from strop.stats.proportion import clopper_pearson

Floats = NDArray[np.float64]
Verdict = Literal["pass", "warn", "fail", "not applicable"]

LEAST = 0.4  # Cohen's kappa: "fair" ends here (Landis and Koch 1977)
_GO, _STOP = 0.8, 0.6  # Spearman of two graders, Microsoft's fine-tuning guidance
_ABSTAINED = 0.05  # the failure budget of every stage
_MOST_LEVELS = 20
_ANNOTATORS = 3


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """One person's label of one answer, beside the grader's score of that answer.

    prompt, answer: ids or texts, equal ones are the same. label: on any scale. score: in [0, 1], None where
    the grader failed. annotator: "" where nobody knows who it was. cluster: whose errors may correlate
    (a customer), default the prompt.
    """

    prompt: str
    answer: str
    label: float
    score: float | None
    annotator: str = ""
    cluster: str = ""


class Contradiction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to one prompt that was labelled differently. labels: how often each was given.

    annotators: those who gave more than one label here, contradicting themselves.
    """

    prompt: str
    answer: str
    labels: dict[str, int]
    annotators: tuple[str, ...]


class People(msgspec.Struct, frozen=True, kw_only=True):
    """A grader against human labels; what can't be said is None, and `not_applicable` says why, by name.

    levels: of the labels; kappa (quadratic-weighted, over all labels) and with_grader see scores binned to
    them. spearman: mean over prompts, scores against mean labels. alpha: Krippendorff's, of people alone;
    with_grader: with the grader as one more rater. auc: of the scores, where labels have two levels.
    alternative: the alternative annotator test. contradicted: share of the answers with two labels or more
    on which labels differ, exact interval in contradicted_low and _high. ungraded: labels whose answer has
    no score. unlabelled: rows whose label is no number, left out.
    """

    labels: int
    answers: int
    prompts: int
    annotators: int
    levels: tuple[float, ...]
    kappa: Kappa | None
    spearman: WithinSpearman
    alpha: Alpha | None
    with_grader: Alpha | None
    alternative: AltTest | None
    auc: Auc | None
    contradictions: tuple[Contradiction, ...]
    twice_labelled: int
    contradicted: float | None
    contradicted_low: float
    contradicted_high: float
    ungraded: int
    unlabelled: int
    not_applicable: dict[str, str]
    verdict: Verdict
    reason: str


def with_people(
    rows: Sequence[Labelled],
    *,
    levels: Sequence[float] | None = None,
    epsilon: float = 0.15,
    fewest: int = 30,
) -> People:
    """Compare a grader with human labels.

    levels: all that a person could say, default all labels that occur; a label beside them abstains.
    epsilon, fewest: of the alternative annotator test (`stats/alt_test.py`). An annotator's second label of
    an answer counts in kappa and AUC, not in alpha and the test. Passes where the test does or kappa's lower
    bound is at least 0.4; fails where kappa's upper bound is under 0.4 and neither ranking (Spearman, AUC)
    is surely better than chance; else warns.
    """
    kept = [row for row in rows if math.isfinite(row.label)]
    steps = tuple(sorted({row.label for row in kept} if levels is None else set(map(float, levels))))
    scores = np.array([math.nan if r.score is None else r.score for r in kept], dtype=np.float64)
    clusters = [row.cluster or row.prompt for row in kept]
    if 2 <= len(steps) <= _MOST_LEVELS:
        found = _on_levels(kept, scores, clusters, steps, epsilon, fewest)
    else:
        spread = f"the labels have {len(steps)} levels: 2 to {_MOST_LEVELS} are needed"
        found = _OnLevels(why=dict.fromkeys(("kappa", "alpha", "with_grader", "alternative", "auc"), spread))
    spearman = _spearman(kept, scores, clusters)
    contradictions, twice = _contradictions(kept)
    low, high = clopper_pearson(len(contradictions), twice)
    verdict, reason = _of_people(found.kappa, spearman, found.auc, found.alternative)
    return People(
        labels=len(kept),
        answers=len({(r.prompt, r.answer) for r in kept}),
        prompts=len({r.prompt for r in kept}),
        annotators=len({r.annotator for r in kept if r.annotator}),
        levels=steps,
        kappa=found.kappa,
        spearman=spearman,
        alpha=found.alpha,
        with_grader=found.with_grader,
        alternative=found.alternative,
        auc=found.auc,
        contradictions=contradictions,
        twice_labelled=twice,
        contradicted=len(contradictions) / twice if twice else None,
        contradicted_low=low,
        contradicted_high=high,
        ungraded=int(np.isnan(scores).sum()),
        unlabelled=len(rows) - len(kept),
        not_applicable=found.why,
        verdict=verdict,
        reason=reason,
    )


class _OnLevels(msgspec.Struct, kw_only=True):
    kappa: Kappa | None = None
    alpha: Alpha | None = None
    with_grader: Alpha | None = None
    alternative: AltTest | None = None
    auc: Auc | None = None
    why: dict[str, str]


def _on_levels(
    rows: Sequence[Labelled],
    scores_N: Floats,
    clusters: Sequence[str],
    levels: Sequence[float],
    epsilon: float,
    fewest: int,
) -> _OnLevels:
    """Return what needs the scores binned to the labels' levels."""
    found = _OnLevels(why={})
    binned, labels = to_levels(scores_N, levels), [row.label for row in rows]
    found.kappa = cohen_kappa(binned, labels, levels, weights="quadratic", clusters=clusters)
    ratings, names, first = _ratings(rows, levels)
    level = "nominal" if len(levels) == 2 else "ordinal"
    grader = np.array([[math.nan if (b := binned[i]) is None else b for i in first]])
    found.with_grader = krippendorff_alpha(np.concatenate([grader, ratings]), level)
    if len(ratings) > 1:
        found.alpha = krippendorff_alpha(ratings, level)
    else:
        found.why["alpha"] = f"{len(ratings)} annotator: two are needed"
    found.alternative = _alternative(
        ratings, names, scores_N[first], levels, [clusters[i] for i in first], epsilon, fewest, found.why
    )
    if len(levels) == 2:
        known = [i for i, label in enumerate(labels) if label in levels]
        upper = [float(labels[i] == levels[1]) for i in known]
        found.auc = auc(scores_N[known], upper, [clusters[i] for i in known])
    else:
        found.why["auc"] = f"the labels have {len(levels)} levels, not 2"
    return found


def to_levels(scores_N: Floats, levels: Sequence[float]) -> list[float | None]:
    """Return the level nearest to each score, the upper one in the middle; None for NaN.

    levels: ascending. Those inside [0, 1] stay where they are, others (1 to 5 stars) are stretched to it.
    """
    place_L = _places(levels)
    index_N = np.searchsorted((place_L[:-1] + place_L[1:]) / 2, scores_N, side="right")
    return [None if math.isnan(s) else levels[i] for s, i in zip(scores_N, index_N, strict=True)]


def _places(levels: Sequence[float]) -> Floats:
    place_L = np.asarray(levels, dtype=np.float64)
    if place_L[0] >= 0 and place_L[-1] <= 1:
        return place_L
    return (place_L - place_L[0]) / (place_L[-1] - place_L[0])


def _ratings(rows: Sequence[Labelled], levels: Sequence[float]) -> tuple[Floats, tuple[str, ...], list[int]]:
    """Return labels (annotators x answers, NaN for none), the annotators' names, each answer's first row.

    Labels without a name are taken as different people's: the first of an answer, the second and so on.
    """
    answers: dict[tuple[str, str], int] = {}
    first, unnamed = list[int](), Counter[int]()
    found: dict[tuple[str, int], float] = {}
    for i, row in enumerate(rows):
        if row.label not in levels:
            continue
        at = answers.setdefault((row.prompt, row.answer), len(answers))
        if at == len(first):
            first.append(i)
        unnamed[at] += not row.annotator
        name = row.annotator or f"\0{unnamed[at]}"
        found.setdefault((name, at), row.label)
    names = tuple(sorted({name for name, _ in found}))
    ratings = np.full((len(names), len(first)), math.nan)
    for (name, at), label in found.items():
        ratings[names.index(name), at] = label
    return ratings, names, first


def _alternative(
    ratings_A_N: Floats,
    names: Sequence[str],
    scores_N: Floats,
    levels: Sequence[float],
    clusters: Sequence[str],
    epsilon: float,
    fewest: int,
    why: dict[str, str],
) -> AltTest | None:
    named = [i for i, name in enumerate(names) if not name.startswith("\0")]
    if len(named) < _ANNOTATORS:
        why["alternative"] = f"{len(named)} named annotators: the test needs {_ANNOTATORS}"
        return None
    ratings = ratings_A_N[named]
    if len(levels) == 2:
        binned = [math.nan if b is None else b for b in to_levels(scores_N, levels)]
        found = alt_test(binned, ratings, epsilon=epsilon, clusters=clusters, fewest=fewest)
    else:
        place = np.full(ratings.shape, math.nan)
        rated = np.isfinite(ratings)
        place[rated] = _places(levels)[np.searchsorted(levels, ratings[rated])]
        found = alt_test(scores_N, place, epsilon=epsilon, score="rmse", clusters=clusters, fewest=fewest)
    if found.passed is None:
        why["alternative"] = f"no annotator has {fewest} answers that another one labelled, too"
        return None
    return found


def _spearman(rows: Sequence[Labelled], scores_N: Floats, clusters: Sequence[str]) -> WithinSpearman:
    """Correlate each answer's score with the mean of its labels, within prompts."""
    places: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault((row.prompt, row.answer), []).append(i)
    means = [float(np.mean([rows[i].label for i in own])) for own in places.values()]
    first = [own[0] for own in places.values()]
    return within_spearman(
        scores_N[first], means, [rows[i].prompt for i in first], clusters=[clusters[i] for i in first]
    )


def _contradictions(rows: Sequence[Labelled]) -> tuple[tuple[Contradiction, ...], int]:
    """Return the answers on which labels differ, and how many have more than one label."""
    by_answer: dict[tuple[str, str], list[Labelled]] = {}
    for row in rows:
        by_answer.setdefault((row.prompt, row.answer), []).append(row)
    found: list[Contradiction] = []
    for (prompt, answer), own in by_answer.items():
        counts = Counter(row.label for row in own)
        if len(counts) < 2:
            continue
        each: dict[str, set[float]] = {}
        for row in own:
            if row.annotator:
                each.setdefault(row.annotator, set()).add(row.label)
        found.append(
            Contradiction(
                prompt=prompt,
                answer=answer,
                labels={f"{label:g}": counts[label] for label in sorted(counts)},
                annotators=tuple(sorted(name for name, said in each.items() if len(said) > 1)),
            )
        )
    return tuple(found), sum(len(own) > 1 for own in by_answer.values())


def _of_people(
    kappa: Kappa | None, spearman: WithinSpearman, area: Auc | None, alternative: AltTest | None
) -> tuple[Verdict, str]:
    said: list[str] = []
    if kappa is not None and kappa.kappa is not None:
        said.append(f"quadratic-weighted kappa {_shown(kappa.kappa, kappa.low, kappa.high)}, n {kappa.n}")
    if spearman.rho is not None:
        span = _shown(spearman.rho, spearman.low, spearman.high)
        said.append(f"Spearman within prompts {span}, {spearman.groups} prompts")
    if area is not None and area.auc is not None:
        said.append(f"AUC {_shown(area.auc, area.low, area.high)}, n {area.positives + area.negatives}")
    if alternative is not None:
        won = sum(a.won for a in alternative.annotators)
        said.append(f"as good as {won} of {len(alternative.annotators)} annotators")
    if not said:
        return "not applicable", "no two labels differ, or no labelled answer has a score"
    reason = "; ".join(said)
    low = None if kappa is None else kappa.low
    high = None if kappa is None else kappa.high
    if (alternative is not None and alternative.passed) or (low is not None and low >= LEAST):
        return "pass", reason
    ranks = (spearman.low is not None and spearman.low > 0) or (
        area is not None and area.low is not None and area.low > 0.5
    )
    if not ranks and (high is None or high < LEAST):
        return "fail", f"it neither agrees with people nor ranks as they do: {reason}"
    return "warn", reason


class TwoGraders(msgspec.Struct, frozen=True, kw_only=True):
    """The training grader against the held-out one, on the same answers.

    opposite: share of the pairs of answers to one prompt that the two order oppositely, out of the `pairs`
    that both of them order; ties: pairs that one or both do not. opposite_pairs: their count.
    """

    spearman: WithinSpearman
    opposite: Estimate | None
    opposite_pairs: int
    pairs: int
    ties: int
    verdict: Verdict
    reason: str


def with_held_out(
    training: Sequence[float | None],
    held_out: Sequence[float | None],
    prompts: Sequence[str],
    *,
    clusters: Sequence[str] | None = None,
) -> TwoGraders:
    """Compare two graders' scores of the same answers, None where one failed.

    clusters: names that are constant within a prompt, default the prompts. Passes from a mean Spearman of
    0.8 on, fails under 0.6; an interval that reaches over that line makes either a warning. Raises
    ValueError where lengths differ.
    """
    first, second = (
        np.array([math.nan if v is None else v for v in scores], dtype=np.float64)
        for scores in (training, held_out)
    )
    names = list(prompts if clusters is None else clusters)
    found = within_spearman(first, second, prompts, clusters=names)
    members: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        if math.isfinite(first[i]) and math.isfinite(second[i]):
            members.setdefault(prompt, []).append(i)
    opposite, owners, ties = list[Floats](), list[str](), 0
    for own in members.values():
        left, right = np.triu_indices(len(own), 1)
        a, b = first[own], second[own]
        sign = np.sign(a[left] - a[right]) * np.sign(b[left] - b[right])
        ordered = sign[sign != 0]
        ties += int(sign.size - ordered.size)
        opposite.append((ordered < 0).astype(np.float64))
        owners += [names[own[0]]] * ordered.size
    values = np.concatenate(opposite) if opposite else np.zeros(0)
    share = cluster_mean(values, owners) if values.size else None
    verdict, reason = _of_two(found, share)
    return TwoGraders(
        spearman=found,
        opposite=share,
        opposite_pairs=int(values.sum()),
        pairs=int(values.size),
        ties=ties,
        verdict=verdict,
        reason=reason,
    )


def _of_two(found: WithinSpearman, share: Estimate | None) -> tuple[Verdict, str]:
    if found.rho is None or found.low is None or found.high is None:
        return "not applicable", "no prompt has answers that both graders tell apart"
    reason = f"Spearman within prompts {_shown(found.rho, found.low, found.high)}, {found.groups} prompts"
    if share is not None:
        reason += f"; {share.mean:.0%} of {share.n} pairs ordered oppositely"
    if found.rho < _STOP:
        return ("fail" if found.high < _STOP else "warn"), f"{reason}; under {_STOP}"
    if found.rho >= _GO and found.low >= _STOP:
        return "pass", reason
    return "warn", reason


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a judge (of one prompt set) beside its reference, a programmatic reward or a person.

    answer: as it came; what is no member of the enum, None included, is an abstention.
    """

    judge: str
    answer: str | float | bool | None
    reference: str | float | bool | None
    cluster: str = ""


class JudgeFit(msgspec.Struct, frozen=True, kw_only=True):
    """May a judge's verdict be a reward? refused: no, for this reason.

    outside: answers out of the enum, with their counts. abstained, abstained_low, abstained_high: their
    share of all answers with its exact interval. needed: answers with a verdict at which kappa's lower
    bound would reach the least, None where it does or where kappa is under it.
    """

    judge: str
    kappa: Kappa
    outside: dict[str, int]
    abstained: float | None
    abstained_low: float
    abstained_high: float
    needed: int | None
    refused: bool
    verdict: Verdict
    reason: str


def judge_fits(
    rows: Sequence[Judged], enum: Sequence[str | float | bool], *, least: float = LEAST
) -> tuple[JudgeFit, ...]:
    """Compare each judge with the reference, in order of appearance; see `judge_fit`."""
    by_judge: dict[str, list[Judged]] = {}
    for row in rows:
        by_judge.setdefault(row.judge, []).append(row)
    return tuple(judge_fit(own, enum, least=least) for own in by_judge.values())


def judge_fit(
    rows: Sequence[Judged], enum: Sequence[str | float | bool], *, least: float = LEAST
) -> JudgeFit:
    """Compare one judge with the reference by Cohen's kappa, and refuse it under `least`.

    The point estimate decides: a refusal is to say that the judge is poor, and a lower bound would refuse
    every judge that few answers speak for. What few answers leave open is a warning, with the number that
    would settle it. Without a kappa (no answers, or all alike) there is no evidence, and that is refused,
    too. Raises ValueError for an enum of fewer than two answers.
    """
    names = [row.cluster or f"\0{i}" for i, row in enumerate(rows)]
    kappa = cohen_kappa([r.answer for r in rows], [r.reference for r in rows], enum, clusters=names)
    outside = Counter(str(row.answer) for row in rows if row.answer not in enum)
    gone = outside.total()
    low, high = clopper_pearson(gone, len(rows))
    silent = f"{gone} of {len(rows)} answers are none of {', '.join(map(str, enum))}" if gone else ""
    needed = None
    if kappa.kappa is None or kappa.low is None:
        verdict, said = "fail", f"refused as a reward: no kappa ({kappa.note})"
    elif kappa.kappa < least:
        verdict = "fail"
        said = f"refused as a reward: {_says(kappa)}, is under {least:g}"
    elif kappa.low < least:
        if kappa.kappa > least:
            needed = math.ceil(kappa.n * ((kappa.kappa - kappa.low) / (kappa.kappa - least)) ** 2)
        more = "" if needed is None else f"; about {needed} answers with a verdict would tell"
        verdict, said = "warn", f"{_says(kappa)}, may be under {least:g}{more}"
    else:
        verdict, said = ("warn" if gone / len(rows) > _ABSTAINED else "pass"), _says(kappa)
    return JudgeFit(
        judge=rows[0].judge if rows else "",
        kappa=kappa,
        outside=dict(sorted(outside.items())),
        abstained=gone / len(rows) if rows else None,
        abstained_low=low,
        abstained_high=high,
        needed=needed,
        refused=verdict == "fail",
        verdict=verdict,
        reason="; ".join(part for part in (said, silent) if part),
    )


def _says(kappa: Kappa) -> str:
    value = 0.0 if kappa.kappa is None else kappa.kappa
    return f"Cohen's kappa with the reference, {_shown(value, kappa.low, kappa.high)} (n {kappa.n})"


def _shown(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")
