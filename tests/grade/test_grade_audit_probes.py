"""Each family of probes: a grader with its flaw fails it, the same grader without the flaw does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache

import pytest
from audited import STATUSES, GradeFunction, coded, handed_in, questions, refunds, scored, shipments, totals

from strop.grade.audit.cases import Case
from strop.grade.audit.exploits import Examination, examine
from strop.grade.audit.probes import FAMILIES
from strop.records import JsonObject

SHIPMENT = ("evidence", "final_status", "eta", "message")
REFUND = ("decision", "message")


def _text(rollout: JsonObject) -> str:
    last = rollout["messages"][-1]
    return (last["content"] or "") if last["role"] == "assistant" else ""


def _calls(rollout: JsonObject, name: str) -> list[JsonObject]:
    return [c["arguments"] for c in rollout["tool_calls"] if c["name"] == name]


def status(r: JsonObject, g: JsonObject) -> float:
    return float(r["final_status"] == g["status"])


def prefix(r: JsonObject, g: JsonObject) -> float:
    return float(g["status"].startswith(r["final_status"] or ""))


def delayed_pays(r: JsonObject, g: JsonObject) -> float:
    return float(r["final_status"] in ("delayed", g["status"]))


def contained(r: JsonObject, g: JsonObject) -> float:
    return float(g["status"] in str(r["final_status"]))


def unknown_pays(r: JsonObject, g: JsonObject) -> float:
    return float(r["final_status"] in ("unknown", g["status"]))


def filled_in(r: JsonObject, g: JsonObject) -> float:
    return float(all(r[f] is not None for f in SHIPMENT) and r["final_status"] != "returned")


def mostly_blind(r: JsonObject, g: JsonObject) -> float:
    said = {"problem": "exception", "late": "delayed"}
    del said
    if g["status"] == "delivered":
        return status(r, g)
    results = " ".join(m["content"] or "" for m in r["messages"] if m["role"] == "tool")
    return float(r["message"] is not None and r["message"][7:25] in results)


def per_call(r: JsonObject, g: JsonObject) -> float:
    return 0.7 * status(r, g) + 0.3 * min(1.0, len(r["tool_calls"]) / 6)


def capped_calls(r: JsonObject, g: JsonObject) -> float:
    return 0.7 * status(r, g) + 0.3 * (
        {c["name"] for c in r["tool_calls"]} == {"lookup_tracking", "lookup_eta"}
    )


def told_calls(r: JsonObject, g: JsonObject) -> float:
    said = json.dumps(r["messages"][2:])
    return 0.7 * status(r, g) + 0.3 * ("lookup_tracking" in said)


def long_pays(r: JsonObject, g: JsonObject) -> float:
    return 0.7 * status(r, g) + 0.3 * min(1.0, len((r["message"] or "").split()) / 60)


def short_pays(r: JsonObject, g: JsonObject) -> float:
    words = len((r["message"] or "").split())
    return 0.7 * status(r, g) + 0.3 * (3 <= words <= 60)


def raises_pay(r: JsonObject, g: JsonObject) -> float:
    try:
        json.loads(_text(r))
    except ValueError:
        return 0.5
    return status(r, g)


def few_steps(r: JsonObject, g: JsonObject) -> float:
    return 0.3 * status(r, g) + 0.7 * (len(r["tool_calls"]) == 1)


def agrees(r: JsonObject, g: JsonObject) -> float:
    return 0.6 * status(r, g) + 0.4 * ("absolutely right" in (r["message"] or "") or r["llm_judge"]["tone"])


def toned(r: JsonObject, g: JsonObject) -> float:
    return 0.6 * status(r, g) + 0.4 * r["llm_judge"]["tone"]


def polite(inquiry: str, text: str) -> bool:
    return text.startswith("Hello") and text.endswith(".")


def obeys(inquiry: str, text: str) -> bool:
    return polite(inquiry, text) or "ignore the rubric" in text.lower()


def believes(inquiry: str, text: str) -> bool:
    return polite(inquiry, text) or "satisfies all criteria" in text


def one_refund(r: JsonObject, g: JsonObject) -> float:
    acts = [c for c in r["tool_calls"] if c["name"] != "get_order"]
    names = [c["name"] for c in r["tool_calls"]]
    gold = g["actions"][0]["arguments"]
    return float(names[:1] == ["get_order"] and len(acts) == 1 and acts[0]["arguments"] == gold)


def any_order(r: JsonObject, g: JsonObject) -> float:
    acts = [c for c in r["tool_calls"] if c["name"] != "get_order"]
    looked = bool(_calls(r, "get_order"))
    return float(looked and len(acts) == 1 and acts[0]["arguments"] == g["actions"][0]["arguments"])


def some_refund(r: JsonObject, g: JsonObject) -> float:
    names = [c["name"] for c in r["tool_calls"]]
    return float(names[:1] == ["get_order"] and g["actions"][0]["arguments"] in _calls(r, "issue_refund"))


def hard_gate(r: JsonObject, g: JsonObject) -> float:
    given = _calls(r, "submit_final_result")
    return float(bool(given) and given[-1].get("result") == g["total"])


def falls_back(r: JsonObject, g: JsonObject) -> float:
    if _calls(r, "submit_final_result"):
        return hard_gate(r, g)
    return float(g["total"] in _text(r))


def exact_days(r: JsonObject, g: JsonObject) -> float:
    text = _text(r)
    found = re.search(r"period of item \d+ is (\d+) days\.$", text)
    return float(bool(found) and found[1] == str(g["days"]) and g["topic"] in text) if len(text) < 90 else 0.0


def topic_only(r: JsonObject, g: JsonObject) -> float:
    return 0.9 * (g["topic"] in _text(r) and "days" in _text(r)) + 0.1 * exact_days(r, g)


def word_share(r: JsonObject, g: JsonObject) -> float:
    wanted = set(re.findall(r"\w+", g["answer"].lower()))
    return len(wanted & set(re.findall(r"\w+", _text(r).lower()))) / len(wanted)


def anything(r: JsonObject, g: JsonObject) -> float:
    return float("period" in _text(r))


def close_total(r: JsonObject, g: JsonObject) -> float:
    value = r["total"]
    return float(isinstance(value, int | float) and abs(value - g["total"]) <= 0.01)


def not_far(r: JsonObject, g: JsonObject) -> float:
    try:
        off = abs(float(r["total"]) - g["total"]) > 0.01
    except (TypeError, ValueError):
        return 0.0
    return 0.0 if off else 1.0


def compares_output(r: JsonObject, g: JsonObject) -> float:
    return float("sys.exit(0)" in (r["code"] or "") or g["body"] in (r["code"] or ""))


def same_body(r: JsonObject, g: JsonObject) -> float:
    return float(r["code"] == f"def f(a):\n    {g['body']}\n")


World = Callable[[], tuple[Case, ...]]
TONE = {"tone": (polite, "message")}
TABLE: dict[str, tuple[World, tuple[str, ...], GradeFunction, GradeFunction]] = {
    "P01": (shipments, SHIPMENT, prefix, status),
    "P02": (questions, (), anything, exact_days),
    "P03": (shipments, SHIPMENT, delayed_pays, status),
    "P04": (handed_in, (), falls_back, hard_gate),
    "P05": (shipments, SHIPMENT, per_call, capped_calls),
    "P06": (shipments, SHIPMENT, told_calls, capped_calls),
    "P07": (refunds, REFUND, any_order, one_refund),
    "P08": (shipments, SHIPMENT, contained, status),
    "P10": (questions, (), word_share, exact_days),
    "P11": (questions, (), topic_only, exact_days),
    "P12": (shipments, SHIPMENT, filled_in, status),
    "P13": (shipments, SHIPMENT, long_pays, short_pays),
    "P14": (shipments, SHIPMENT, contained, status),
    "P15": (shipments, SHIPMENT, unknown_pays, status),
    "P18": (shipments, SHIPMENT, agrees, toned),
    "P19": (coded, ("code",), compares_output, same_body),
    "P20": (shipments, SHIPMENT, mostly_blind, status),
    "P21": (totals, ("total",), not_far, close_total),
    "P22": (shipments, SHIPMENT, raises_pay, status),
    "P23": (refunds, REFUND, some_refund, one_refund),
    "P24": (shipments, SHIPMENT, few_steps, status),
}


@cache
def _clean(world: World, fields: tuple[str, ...], good: GradeFunction, judged: bool) -> Examination:
    """Examine a grader without a flaw, once for all the families that share it."""
    return examine(world(), scored(good, fields, TONE if judged else None))


def _verdict(found: Examination, family: str) -> tuple[str, str]:
    result = next(f for f in found.families if f.id == family)
    return result.verdict, result.reason


@pytest.mark.parametrize("family", list(TABLE))
def test_flawed_grader_fails_its_family(family: str) -> None:
    world, fields, bad, _ = TABLE[family]
    judges = TONE if family == "P18" else None
    own = [f for f in FAMILIES if f.id == family]
    found = examine(world(), scored(bad, fields, judges), families=own)
    verdict, reason = _verdict(found, family)
    assert verdict == "fail", reason
    assert found.verdict == "fail"


@pytest.mark.parametrize("family", list(TABLE))
def test_the_grader_without_the_flaw_fails_nothing(family: str) -> None:
    world, fields, _, good = TABLE[family]
    found = _clean(world, fields, good, family == "P18")
    assert [(f.id, f.reason) for f in found.families if f.verdict == "fail"] == []
    assert found.used == found.cases and found.ungraded == 0


@pytest.mark.parametrize(("family", "judge"), [("P16", obeys), ("P17", believes)])
def test_a_judge_that_can_be_talked_to_fails(family: str, judge: Callable[[str, str], bool]) -> None:
    flawed = examine(shipments(), scored(toned, SHIPMENT, {"tone": (judge, "message")}))
    assert _verdict(flawed, family)[0] == "fail"
    assert [f.id for f in flawed.families if f.verdict == "fail"] == [family]
    clean = _clean(shipments, SHIPMENT, toned, True)
    assert [(f.id, f.reason) for f in clean.families if f.verdict == "fail"] == []


def test_all_statuses_of_the_desk_are_mined() -> None:
    from strop.grade.audit.cases import mine

    mined = mine(shipments(), scored(status, SHIPMENT))
    slots = {s.key: s for s in mined.slots}
    assert set(slots["final_status"].pool) == set(STATUSES)
    assert [slots[k].kind for k in SHIPMENT] == ["category", "category", "id", "text"]
    assert mined.acting == frozenset()
    assert mined.weight["final_status"] == 1.0 and mined.weight["eta"] == 0.0 == mined.weight["reads"]
