"""A chunk is redacted alone, as a whole pull would redact it; what can't be is skipped."""

from __future__ import annotations

import pickle

import msgspec

from strop.config import Redact
from strop.curate.redact import Redactor
from strop.loop.clean import clean
from strop.records import Episode, Message, Skipped, ToolCall, Trace, trace_hash

KEY = b"0123456789abcdef"
SETTINGS = Redact.model_validate({"names": "off"} if "names" in Redact.model_fields else {})


def trace(n: int) -> Trace:
    call = ToolCall(
        "c", "book", f'{{"order": "A{n}", "recipient": "Anna Meier", "email": "anna@example.org"}}'
    )
    messages = (
        Message("user", f"Anna Meier here, anna@example.org, about A{n}."),
        Message("assistant", None, (call,)),
        Message("assistant", "Done, Anna Meier."),
    )
    return Trace(
        source="s",
        source_id=str(n),
        episodes=(Episode(messages),),
        started_at=n,
        ended_at=n + 1,
        customer="c",
    )


def test_a_chunk_says_all_that_may_be_written() -> None:
    nested = msgspec.structs.replace(trace(9), attributes={"deep": nest(100_000)})
    broken = Skipped("pull", "bob@example.org:3\ud83d", "no chat: BadGzipFile")
    odd = msgspec.structs.replace(trace(8), attributes={7: "no key of JSON's"})  # type: ignore[dict-item]
    items = list(zip(("10", "20", "30", "35", "40"), (trace(1), broken, nested, odd, trace(2)), strict=True))
    cleaned = clean(SETTINGS, KEY, items)
    assert (cleaned.cursor, cleaned.read) == ("40", 5)
    redactor = Redactor(SETTINGS, KEY)
    expected = [redactor.redact(trace(n)) for n in (1, 2)]
    assert cleaned.traces == [t for t, _ in expected]
    hashes = [trace_hash(t) for t in cleaned.traces]
    found = [(row["kind"], row["hmac"], row["trace_hash"]) for row in cleaned.identities]
    assert found == [(*h, own) for (_, r), own in zip(expected, hashes, strict=True) for h in r.hmacs]
    assert cleaned.counts == {k: 2 * n for k, n in expected[0][1].counts.items()}
    assert [s.stage for s in cleaned.skipped] == ["pull", "redact", "redact"]
    assert (cleaned.skipped[0].item, cleaned.skipped[0].reason) == ("<EMAIL_1>:3?", "no chat: BadGzipFile")
    assert "RecursionError" in cleaned.skipped[1].reason
    written = msgspec.json.encode([cleaned.traces, cleaned.skipped, cleaned.identities]).decode()
    assert "Meier" not in written
    assert "example.org" not in written
    assert pickle.loads(pickle.dumps(cleaned)) == cleaned


def nest(depth: int) -> object:
    value: object = "end"
    for _ in range(depth):
        value = [value]
    return value


def test_nothing_is_a_chunk_too() -> None:
    assert clean(SETTINGS, KEY, []).read == 0
