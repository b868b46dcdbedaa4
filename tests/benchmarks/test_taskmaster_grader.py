"""The coffee grader: features, a split that leaks nothing, honest counts, and the real figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared import shared

from benchmarks.taskmaster_features import features, words
from benchmarks.taskmaster_grader import (
    contradictory,
    data_report,
    distinct,
    fit,
    main,
    measure,
    opening,
    same_context,
    split,
)

Json = dict[str, Any]
HELLO = {"role": "agent", "text": "What can I get for you?"}
MENU = {"get_menu_items": {"items": [{"menu_item_id": "latte-0002", "name": "Latte"}]}}
MILK = {
    "get_addons": {
        "attributes": [{"attribute_id": "milk-options", "options": ["Whole Milk", "Oat Milk"]}],
        "addons": [{"addon_id": "vanilla-011", "name": "Vanilla"}],
    }
}


def asked(text: str, *answers: Json) -> list[Json]:
    """A dialogue in which a customer asked and the agent looked some things up."""
    turns = [HELLO, {"role": "user", "text": text}]
    for answer in answers:
        (name,) = answer
        turns += [{"role": "agent", "api": {name: {"query": "x"}}}, {"role": "api", "response": answer}]
    return turns


def call(name: str, **arguments: Any) -> Json:
    return {"role": "agent", "api": {name: arguments}}


def row(context: list[Json], step: Json, reward: float) -> Json:
    return {"context": json.dumps(context), "generation": json.dumps(step), "reward": reward}


def test_a_wish_that_the_call_forgets_is_named() -> None:
    context = asked("A decaf latte with oat milk", MENU)
    kept = features(context, call("get_addons", query="Decaf OR Oat milk", menu_item_id="latte-0002"))
    lost = features(context, call("get_addons", query="Oat milk OR honey", menu_item_id="latte-0002"))
    assert (kept["get_addons: wishes missed"], kept["get_addons: wishes invented"]) == (0, 0)
    assert (lost["get_addons: wishes missed"], lost["get_addons: missed decaf"]) == (1, 1)
    assert (lost["get_addons: wishes invented"], lost["get_addons: invented honey"]) == (1, 1)
    assert kept["get_addons: item unknown"] == 0
    other = features(context, call("get_addons", query="Decaf OR Oat", menu_item_id="mocha-0006"))
    assert other["get_addons: item unknown"] == other["get_addons: item named otherwise"] == 1


def test_options_must_be_among_those_offered() -> None:
    context = asked("a latte with oat milk", MENU, MILK)

    def item(**arguments: Any) -> dict[str, float]:
        return features(context, call("add_order_item", menu_item_id="latte-0002", quantity="1", **arguments))

    good = item(attributes=[{"attribute_id": "milk-options", "option": "oat Milk"}])
    assert (good["item: option unknown"], good["item: offered wish not set"]) == (0, 0)
    assert item(attributes=[{"attribute_id": "milk-options", "option": "Soy"}])["item: option unknown"] == 1
    noted = item(notes="oat milk")
    assert (noted["item: offered wish not set"], noted["item: offered wish only noted"]) == (1, 1)
    assert item(addons=[{"addon_id": "honey-9", "option": "ADD"}])["item: addon unknown"] == 1
    assert item(attributes=[{"addon_id": "vanilla-011"}])["item: addon among attributes"] == 1


def test_repetition_order_and_form() -> None:
    context = asked("a latte", MENU)
    again = features(context, call("get_menu_items", query="x"))
    assert again["get_menu_items: call repeated"] == 1
    assert features(context, call("get_menu_items", query="latte"))["get_menu_items: call repeated"] == 0
    early = features(context, call("finish_order", order_id="7"))
    assert early["finish_order: finished unconfirmed"] == early["finish_order: order unknown"] == 1
    assert features(context, call("escalate_order"))["api unknown"] == 1
    assert features(context, call("show_menu", page="2"))["arguments unknown"] == 1
    echo = features(context, {"role": "agent", "text": "what can i get for you"})
    assert echo["text: repeats itself"] == 1


@pytest.mark.parametrize(
    "step",
    [{}, {"api": {}}, {"api": {"": {}}}, {"api": {"add_order_item": "x"}}, {"api": None, "text": None}],
)
def test_a_step_without_form_has_features_too(step: Json) -> None:
    odd = [HELLO, {"role": "user"}, {"role": "api", "response": {"get_addons": "empty"}}, {"role": "api"}]
    found = features(odd, step)
    assert found and all(np.isfinite(v) for v in found.values())


def test_identical_contexts_and_openings_stay_on_one_side() -> None:
    raw = [
        row(asked(f"latte number {i % 40}!", *more), call("show_menu", n=str(n)), float(n % 2))
        for i in range(120)
        for n, more in enumerate(((), (MENU,), (MENU, MILK)))
    ]
    train, held_out = split(distinct(raw))
    assert train and held_out
    assert not {r.opening for r in train} & {r.opening for r in held_out}
    assert not {r.context for r in train} & {r.context for r in held_out}
    assert sum(r.copies for r in (*train, *held_out)) == 360
    assert opening(json.loads(raw[0]["context"])) == words(" Latte, number 0 ") == "latte number 0"


def test_contradictions_are_kept_and_counted() -> None:
    context, other = asked("a latte"), asked("a tea")
    step, rival = call("show_menu"), call("get_menu_items", query="latte")
    raw = [row(context, step, 1), row(context, step, 1), row(context, step, 0), row(context, rival, 0)]
    report = data_report(distinct([*raw, row(other, step, 1)]))
    assert (report["rows"], report["distinct"], report["label_0"]) == (5, 4, 2)
    assert (report["contexts"], report["contexts_with_both_labels"], report["steps_with_both_labels"]) == (
        2,
        1,
        1,
    )


def test_contradictions_are_named_by_their_dialogues() -> None:
    context = asked("a latte")
    raw = [
        row(context, call("get_menu_items", query="Latte"), 1) | {"conversation_id": "d1"},
        row(context, call("get_menu_items", query="latte"), 0) | {"conversation_id": "d2"},
        row(asked("a tea"), call("show_menu"), 0) | {"conversation_id": "d3"},
    ]
    assert contradictory(distinct(raw)) == {"contexts": ["d1"], "steps_by_their_words": [["d1", "d2"]]}
    assert contradictory(distinct(raw[1:])) == {"contexts": [], "steps_by_their_words": []}


def test_pairs_of_one_context_are_compared() -> None:
    found = same_context(np.array([0.9, 0.2, 0.5, 0.5, 0.1]), np.array([1.0, 0, 1, 0, 1]), list("aabbc"))
    assert (found["pairs"], found["contexts"], found["mean"]) == (2, 2, 0.75)
    assert same_context(np.array([0.9]), np.array([1.0]), ["a"]) == {"pairs": 0}


def test_the_grader_learns_what_separates_and_ignores_the_unseen() -> None:
    rows = [{"good": float(i % 2), "rare": float(i == 0), "noise": (i * 7 % 5) / 5} for i in range(40)]
    grader = fit(rows, np.array([float(i % 2) for i in range(40)]), penalty=1.0, fewest=3)
    assert sorted(grader.index) == ["good", "noise"]
    high, low = grader.score([{"good": 1.0, "unseen": 9.0}, {"good": 0.0}])
    assert high > 0.8 > 0.2 > low


def test_the_measure_counts_leaks() -> None:
    raw = [row(asked("a latte"), call("show_menu", n=str(i)), float(i % 2)) for i in range(6)]
    rows = distinct(raw)
    found = measure(np.array([0.1, 0.9] * 3), rows, rows)
    assert found["contexts_in_training"] == 1
    assert found["auc"]["mean"] == 1.0
    assert found["same_context"]["pairs"] == 9


def test_the_real_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared("data/taskmaster4_coffee")
    monkeypatch.setenv("STROP_SHARED", str(folder.parents[1]))
    main(["--out", str(tmp_path / "out" / "grader.json")])
    document = json.loads((tmp_path / "out" / "grader.json").read_text(encoding="utf-8"))
    data, found = document["data"], document["held_out"]
    assert (data["rows"], data["distinct"], data["contexts_with_both_labels"]) == (2500, 2294, 213)
    assert data["steps_with_both_labels"] == found["contexts_in_training"] == 0
    assert found["auc"]["mean"] >= 0.77
    assert found["auc"]["ci95"][0] < found["auc"]["mean"] < found["auc"]["ci95"][1]
    named = document["contradictory"]
    assert len(named["contexts"]) == 213 and all(name.startswith("dlg-") for name in named["contexts"])
    assert len(named["steps_by_their_words"]) == 3
    assert (
        found["audit"]["verdict"] == "pass" and found["audit"]["kappa"]["n"] == data["held_out"]["distinct"]
    )
    assert "AUC, clustered by context" in capsys.readouterr().out
