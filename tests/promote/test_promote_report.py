from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import msgspec
from promote_arms import CONFIG, arm, right_in

from strop.promote.compare import compare
from strop.promote.cost import cost
from strop.promote.gate import decide
from strop.promote.report import html

VOID = {"meta"}


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn, and collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return parser


def document() -> dict[str, Any]:
    teacher, candidate = arm("teacher", right_in(0.75, 300)), arm("candidate", right_in(0.95, 300))
    weights = {"answer_ok": 0.6, "tool_ok": 0.25, "tone_ok": 0.15}
    report = compare([teacher, candidate], CONFIG, label="status", weights=weights)
    verdict = decide(report, CONFIG.promote, candidate_id="f" * 64)
    steps = [{"phase": "sft", "loss": 2.0 / (i + 1)} for i in range(5)]
    steps += [{"phase": "grpo", "reward": 0.7 + i / 100} for i in range(4)]
    return {
        "project": "forwarder",
        "run_id": "run-7",
        "rows": {"pulled": 2100, "kept": 1900, "dropped": {"duplicate": 60}},
        "scores": {**report["arms"], "baselines": {"majority": {"accuracy": {"mean": 0.25, "n": 300}}}},
        "distribution": {"histogram": [0, 0, 0, 5, 9, 0, 4, 30, 200, 700]},
        "train": {"steps": steps, "seconds": 12.0},
        "verdict": msgspec.to_builtins(verdict),
        "cost": cost(teacher, candidate, CONFIG, weights=weights, train_seconds=600),
        "serving": {"p50_ms": 812.0, "p95_ms": 1544.0},
        "seconds": {"install": 120.0, "loop": 900.0},
        "simulated": ["the frontier model"],
    }


def test_the_page_is_whole_and_needs_nothing_from_outside() -> None:
    page = html(document())
    found = parsed(page)
    assert found.links == []
    assert "script" not in found.seen
    assert {"svg", "table", "rect", "polyline"} <= found.seen
    for text in ("forwarder", "run-7", ">promote<", "tone_ok", "the frontier model", "1544.0", "resolved"):
        assert text in page
    assert "sft: loss" in page
    assert "grpo: reward" in page


def test_it_can_be_made_again_from_the_json_document() -> None:
    assert html(json.loads(json.dumps(document()))) == html(document())


def test_every_part_may_be_absent() -> None:
    whole = document()
    for key in whole:
        parsed(html({k: v for k, v in whole.items() if k != key}))
        parsed(html({key: whole[key]}))
    assert "no verdict" in html({})
    parsed(html({"scores": {"candidate": {"mean": 0.5}, "teacher": {"mean": None}}}))


def test_text_from_traces_is_escaped() -> None:
    evil = document()
    evil["project"] = "<script>alert(1)</script>"
    evil["rows"] = {"<img src=x>": 1}
    evil["verdict"]["reasons"] = ["<b>bold</b>"]
    page = html(evil)
    assert "script" not in parsed(page).seen
    assert "<img" not in page
    assert "&lt;b&gt;bold" in page


def test_a_comparison_alone_makes_a_page_too() -> None:
    report = compare([arm("teacher", right_in(0.75, 100)), arm("candidate", right_in(0.9, 100))], CONFIG)
    page = html({**report, "baselines": {"last event": {"accuracy": {"mean": 0.61, "n": 100}}}})
    assert "answer_ok" in page
    assert "0.610" in page
