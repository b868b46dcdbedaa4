"""Redaction's recall and precision by characters, on texts that others labelled and on German letters.

python -m benchmarks.pii [--half reported|tuning|all] [--out benchmarks/results/pii.json]

English: presidio-research's 1,500 generated texts (MIT), read from STROP_SHARED, else from `shared/` beside
the clone. They come from 209 templates: those with even numbers were looked at while the wordings and
recognisers were written ("tuning"), those with odd numbers were not ("reported"), but for three that were
seen before the halves were chosen. The reported half was measured with two models: the shipped one, and one
before it (recall 0.958, precision 0.852). German: `pii_german.py`; its wordings were written by whoever wrote
the training's, and its totals were watched while those grew.

A character counts as found if it would be replaced, by whatever kind; "right kind" says how much of it by
the right one. Only what identifies a person counts (COUNTED). What is labelled beyond that (places,
companies, dates, ages, jobs, nationalities, web addresses) is business data to strop: taking it out counts as
wrong, and its share is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pii_german
from benchmarks.pii_german import Labelled
from strop.config import Redact
from strop.curate import names
from strop.curate.redact import Redactor
from strop.records import Episode, Message, ToolCall, Trace

REPO = Path(__file__).resolve().parents[1]
COUNTED = {
    "PERSON": "PERSON", "STREET_ADDRESS": "ADDRESS", "ZIP_CODE": "ADDRESS", "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN", "IP_ADDRESS": "IP", "US_SSN": "SSN",
    "US_DRIVER_LICENSE": "DOCUMENT",
}  # fmt: skip
NOT_COUNTED = ("GPE", "ORGANIZATION", "DATE_TIME", "TITLE", "AGE", "NRP", "DOMAIN_NAME")
HALVES = {"tuning": 0, "reported": 1}


def english(half: str) -> list[Labelled]:
    """Return the texts of one half of the templates, each text once."""
    shared = Path(os.environ.get("STROP_SHARED") or REPO.parent / "shared")
    file = shared / "data" / "pii_presidio" / "synth_dataset_v2.json"
    if not file.exists():
        raise SystemExit(f"no labelled texts in {file.parent}: set STROP_SHARED")
    texts: dict[str, Labelled] = {}
    for row in json.loads(file.read_text(encoding="utf-8")):
        if half == "all" or row["template_id"] % 2 == HALVES[half]:
            spans = tuple((s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"])
            texts.setdefault(row["full_text"], Labelled(row["full_text"], row["template_id"], spans))
    return list(texts.values())


def measure(labelled: Sequence[Labelled], redactor: Redactor, counted: dict[str, str]) -> dict[str, Any]:
    """Return recall and precision by characters with intervals over templates, and figures by type."""
    sums: dict[int, np.ndarray] = defaultdict(
        lambda: np.zeros(4)
    )  # gold, found of it, taken, taken elsewhere
    types: dict[str, np.ndarray] = defaultdict(
        lambda: np.zeros(4)
    )  # characters, found, of the right kind, spans
    taken_by_kind: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))  # taken, of it right
    whole = {"spans": 0, "whole": 0, "missed": 0}
    for text, template, spans in labelled:
        taken = _painted(len(text), redactor.found(text))
        gold = _painted(len(text), spans)
        personal = np.isin(gold, list(counted))
        sums[template] += (personal.sum(), (personal & (taken != "")).sum(), (taken != "").sum(), 0)
        sums[template][3] += ((taken != "") & (gold != "") & ~personal).sum()
        for start, end, label in spans:
            part = taken[start:end]
            hit = (part != "").sum()
            types[label] += (end - start, hit, (part == counted.get(label, "-")).sum(), 1)
            if label in counted:
                whole["spans"] += 1
                whole["whole"] += int(hit == end - start)
                whole["missed"] += int(hit == 0)
        for kind in set(taken.tolist()) - {""}:
            taken_by_kind[kind] += ((taken == kind).sum(), ((taken == kind) & personal).sum())
    table = np.array([sums[t] for t in sorted(sums)])
    return {
        "texts": len(labelled),
        "templates": len(sums),
        "recall": _ratio(table, 1, 0),
        "precision": _ratio(table, 1, 2),
        "precision_leaving_out_other_labels": float(
            table[:, 1].sum() / max(1, table[:, 2].sum() - table[:, 3].sum())
        ),
        "whole_spans": whole,
        "by_type": {
            label: {
                "counts": label in counted,
                "spans": int(v[3]),
                "characters": int(v[0]),
                "taken_out": float(v[1] / v[0]),
                "right_kind": float(v[2] / v[1]) if label in counted and v[1] else None,
            }
            for label, v in sorted(types.items(), key=lambda item: -item[1][0])
        },
        "by_kind": {
            k: {"characters": int(v[0]), "right": float(v[1] / v[0])}
            for k, v in sorted(taken_by_kind.items())
        },
    }


def _painted(length: int, spans: Iterable[tuple[int, int, str]]) -> np.ndarray:
    painted = np.full(length, "", dtype="<U20")
    for start, end, label in spans:
        painted[start:end] = label
    return painted


def _ratio(table: np.ndarray, top: int, bottom: int) -> dict[str, float]:
    """A ratio of sums with its 95 % percentile interval over resampled templates (2,000 draws)."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=2000) @ table
    ratios = draws[:, top] / np.maximum(draws[:, bottom], 1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return {
        "value": float(table[:, top].sum() / max(1, table[:, bottom].sum())),
        "low": float(low),
        "high": float(high),
    }


def speed() -> dict[str, float]:
    """Return KB/s of one core: names in sentences, and whole traces of 20 KB with and without names."""
    sentences = [t.text for t in pii_german.texts(20, seed=5)]
    finder = names.builtin()
    finder.find(sentences[:50])
    size = sum(len(s.encode()) for s in sentences)
    # CPU seconds: what else runs on the machine makes no difference to them.
    began = time.process_time()
    for i in range(0, len(sentences), 8):
        finder.find(sentences[i : i + 8])
    result = {"names_kb_per_s": size / 1000 / (time.process_time() - began)}
    for name, redactor in (
        ("structured", Redactor(Redact(), b"k" * 32, names=_Nobody())),
        ("whole", Redactor(Redact(), b"k" * 32)),
    ):
        traces = [_trace(i) for i in range(60)]
        began = time.process_time()
        for trace in traces:
            redactor.redact(trace)
        used = time.process_time() - began
        kb = sum(_size(t) for t in traces) / 1000
        result[f"{name}_kb_per_s"] = kb / used
        result[f"{name}_s_per_10000_traces"] = used / len(traces) * 10_000
        result["kb_per_trace"] = kb / len(traces)
    return result


class _Nobody:
    """Finds nobody: what is left is structured redaction."""

    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
        return [[] for _ in texts]


def _size(trace: Trace) -> int:
    messages = [m for e in trace.episodes for m in e.messages]
    return sum(
        len((m.content or "").encode()) + sum(len(c.arguments) for c in m.tool_calls) for m in messages
    )


def _trace(number: int) -> Trace:
    """A support ticket of about 20 KB: a system prompt, letters, six lookups with long results, answers."""
    letters = list(pii_german.texts(1, seed=number))
    person = f"{pii_german.FIRST[number % 60]} {pii_german.LAST[number % 80]}"
    system = "You are the support agent of a parcel service. Answer politely and call tools for facts. " * 20
    messages = [Message(role="system", content=system)]
    for turn in range(6):
        tracking = f"0034{number:08d}{turn:08d}"
        messages.append(Message(role="user", content=letters[turn * 5].text))
        call = ToolCall(f"c{turn}", "lookup_tracking", json.dumps({"tracking_number": tracking}))
        events = [
            {
                "time": f"2026-11-{1 + k % 28:02d}T08:{k:02d}:00Z", "code": f"E{100 + k}",
                "depot": f"Depot {k % 7}", "km": k * 1.5,
            }
            for k in range(30)
        ]  # fmt: skip
        result = {
            "tracking": tracking,
            "recipient": {"name": person, "phone": f"+49 170 {1000000 + number}"},
            "events": events,
        }
        messages.append(Message(role="assistant", tool_calls=(call,)))
        messages.append(Message(role="tool", content=json.dumps(result), tool_call_id=call.id))
        messages.append(
            Message(role="assistant", content=f"Guten Tag {person}, Ihre Sendung {tracking} ist unterwegs.")
        )
    return Trace(
        source="bench", source_id=str(number), started_at=0, ended_at=1,
        episodes=(Episode(messages=tuple(messages)),),
        identities={"user.name": person},
    )  # fmt: skip


def interval(ratio: dict[str, float]) -> str:
    """Return a ratio with its interval."""
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def table(result: dict[str, Any]) -> str:
    """Return the result as a table."""
    lines = [
        f"{'set':28}{'recall':23}{'precision':23}"
        f"{'texts':>6}{'templates':>10}{'whole spans':>12}{'missed':>8}"
    ]
    for name in result["sets"]:
        m = result["sets"][name]
        r, p, w = m["recall"], m["precision"], m["whole_spans"]
        lines.append(
            f"{name:28}{interval(r):23}{interval(p):23}{m['texts']:6}{m['templates']:10}"
            f"{w['whole'] / w['spans']:12.3f}{w['missed'] / w['spans']:8.3f}"
        )
    for name, m in result["sets"].items():
        lines += ["", f"{name}: by type ('-' does not count: taking it out is wrong)"]
        for label, t in m["by_type"].items():
            kind = f"right kind {t['right_kind']:.3f}" if t["right_kind"] is not None else ""
            lines.append(
                f"  {'+' if t['counts'] else '-'} {label:18} {t['spans']:5} spans {t['characters']:6} chars"
                f"  taken out {t['taken_out']:.3f}  {kind}"
            )
        lines.append(
            f"  precision without other labelled characters {m['precision_leaving_out_other_labels']:.3f}"
        )
    lines += ["", *(f"{k}: {v:.1f}" for k, v in result["speed"].items())]
    return "\n".join(lines)


def run(half: str) -> dict[str, Any]:
    """Measure everything."""
    key = b"benchmark" * 4
    builtin, off = Redactor(Redact(), key), Redactor(Redact(), key, names=_Nobody())
    german = list(pii_german.texts(25, seed=11))
    same = {kind: kind for kind in pii_german.PERSONAL.values()}
    sets = {
        f"English, {half}": measure(english(half), builtin, COUNTED),
        "German letters": measure(german, builtin, same),
        f"English, {half}, no names": measure(english(half), off, COUNTED),
        "German letters, no names": measure(german, off, same),
    }
    return {"counted": COUNTED, "not_counted": NOT_COUNTED, "sets": sets, "speed": speed()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", choices=("reported", "tuning", "all"), default="reported")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    result = run(given.half)
    print(table(result))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
