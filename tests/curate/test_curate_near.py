"""Near-duplicates: MinHash estimates, recall of the bands, clusters, and what is compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strop.curate import near
from strop.curate.likeness import about, outcome, said, tool_sequence
from strop.records import Episode, Message, Tool, ToolCall, Trace

Sets = tuple[NDArray[np.uint64], NDArray[np.uint64]]


def pair(rng: np.random.Generator, size: int, shared: int) -> Sets:
    """Two sets of hashes with a union of `size` and `shared` of it in common."""
    hashes = rng.integers(0, 1 << 63, size, dtype=np.uint64)
    own = shared + (size - shared) // 2
    return np.unique(hashes[:own]), np.unique(np.concatenate((hashes[:shared], hashes[own:])))


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("size", [40, 400])
def test_the_estimate_errs_as_128_independent_permutations_would(similarity: float, size: int) -> None:
    rng = np.random.default_rng(size)
    errors: list[float] = []
    for _ in range(150):
        a, b = pair(rng, size, round(size * similarity))
        assert near.jaccard(a, b) == pytest.approx(similarity)
        errors.append(float((near.signature(a) == near.signature(b)).mean()) - similarity)
    spread = (similarity * (1 - similarity) / near.PERMUTATIONS) ** 0.5
    assert abs(np.mean(errors)) < 4 * spread / 150**0.5
    assert 0.8 * spread < np.std(errors) < 1.2 * spread


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_at_the_threshold_hardly_a_pair_is_missed(threshold: float) -> None:
    bands, width = near.banding(threshold)
    assert bands * width <= near.PERMUTATIONS
    rng = np.random.default_rng(7)
    pairs = [pair(rng, 200, round(200 * threshold)) for _ in range(500)]
    signatures = np.stack([near.signature(side) for both in pairs for side in both])
    found = np.zeros(500, np.bool_)
    for band in range(bands):
        keys = near.band_keys(signatures, band, width)
        found |= keys[::2] == keys[1::2]
    assert found.sum() >= 497  # at least 499.5 are expected


def test_at_a_threshold_of_one_only_the_same_sets_are_candidates() -> None:
    assert near.banding(1.0) == (1, near.PERMUTATIONS)


@given(st.lists(st.text("ab éß漢-_1", max_size=6), max_size=12))
def test_shingles_depend_on_words_alone(words: list[str]) -> None:
    text = " ".join(words)
    assert np.array_equal(near.shingles(text), near.shingles(f" .{text.upper()}\n!"))
    once = np.unique(near.shingles(text))
    assert np.array_equal(near.signature(near.shingles(text)), near.signature(once))


def test_shingles_are_runs_of_three_words() -> None:
    assert len(near.shingles("")) == len(near.shingles(" ... ")) == 0
    assert len(near.shingles("one")) == len(near.shingles("one two")) == 1
    assert len(near.shingles("one two three four")) == 2
    assert near.jaccard(near.shingles("one two"), near.shingles("two one")) == 0
    assert len(near.shingles("三个字符")) == 2
    assert near.jaccard(near.shingles("a b c d"), near.shingles("z a b c d")) == pytest.approx(2 / 3)


def test_one_word_in_a_long_text_costs_three_shingles() -> None:
    words = [f"w{n}" for n in range(60_000)]  # longer than what is hashed at once
    changed = [*words[:30_000], "other", *words[30_001:]]
    a, b = near.shingles(" ".join(words)), near.shingles(" ".join(changed))
    assert len(a) == 59_998
    assert len(np.setdiff1d(a, b)) == 3


def clusters_of(sets: list[NDArray[np.uint64]], threshold: float) -> tuple[NDArray[np.int32], int]:
    signatures = np.stack([near.signature(s) for s in sets])
    rows = np.arange(len(sets))
    clusters = near.Clusters(len(sets))
    asked = 0

    def verify(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        nonlocal asked
        asked += len(pairs)
        return np.array([near.jaccard(sets[a], sets[b]) >= threshold for a, b in pairs])

    bands, width = near.banding(threshold)
    for band in range(bands):
        near.join_buckets(near.band_keys(signatures, band, width), rows, clusters, verify)
    return clusters.labels(), asked


@given(st.integers(0, 1000))
def test_planted_families_are_found_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    families = [rng.integers(0, 1 << 63, 200, dtype=np.uint64) for _ in range(12)]
    members = rng.integers(0, len(families), 40)
    sets: list[NDArray[np.uint64]] = []
    for family in members:
        out = rng.choice(200, 4, replace=False)  # two of one family have 192 to 196 of 200 to 204 in common
        kept = np.delete(families[family], out)
        sets.append(np.unique(np.concatenate((kept, rng.integers(0, 1 << 63, 2, dtype=np.uint64)))))
    labels, _ = clusters_of(sets, 0.9)
    first = {family: int(np.flatnonzero(members == family)[0]) for family in members}
    assert labels.tolist() == [first[family] for family in members]


def test_a_thousand_copies_cost_a_thousand_comparisons() -> None:
    one = near.shingles("the same words again and again")
    labels, asked = clusters_of([one] * 1000, 0.9)
    assert set(labels.tolist()) == {0}
    assert asked == 999


def test_near_duplicates_among_many_texts_of_one_template_are_found() -> None:
    rng = np.random.default_rng(5)
    template = rng.integers(0, 1 << 63, 180, dtype=np.uint64)
    sets: list[NDArray[np.uint64]] = []
    for _ in range(400):  # most pairs share 0.75 to 0.9, some more
        kept = template[rng.random(180) > rng.choice([0.04, 0.06, 0.1])]
        sets.append(np.unique(np.concatenate((kept, rng.integers(0, 1 << 63, 4, dtype=np.uint64)))))
    near_pairs = [(a, b) for a in range(400) for b in range(a) if near.jaccard(sets[a], sets[b]) >= 0.9]
    labels, asked = clusters_of(sets, 0.9)
    together = sum(labels[a] == labels[b] for a, b in near_pairs)
    assert len(near_pairs) > 1000
    assert together > 0.95 * len(near_pairs)
    assert asked < 0.5 * 400 * 399 / 2


def test_keys_with_other_salts_differ() -> None:
    keys = np.array([5, 5, 5], dtype=np.uint64)
    first, second, third = near.salted(keys, np.array([1, 1, -2], dtype=np.int64)).tolist()
    assert first == second != third


def traced(*messages: Message, status: str = "ok", tools: tuple[Tool, ...] = ()) -> Trace:
    return Trace(
        source="s",
        source_id="1",
        episodes=(Episode(messages, tools),),
        started_at=0,
        ended_at=1,
        status="error" if status == "error" else "ok",
    )


ASK = Message("user", "Where is order 00340?")


def call(arguments: str, name: str = "look") -> Message:
    return Message("assistant", None, (ToolCall("c", name, arguments),))


def test_instructions_are_not_compared() -> None:
    plain = traced(ASK, call('{"id": "1"}'), Message("tool", "there", tool_call_id="c"))
    instructed = traced(Message("system", "be kind"), *plain.episodes[0].messages, tools=(Tool("look"),))
    assert said(plain) == said(instructed)
    assert all(part in said(plain) for part in ("00340", "look", '"id": "1"', "there"))


def test_an_outcome_is_its_calls_and_its_answer() -> None:
    one = outcome(traced(ASK, call('{"id": "1", "n": 2}'), Message("assistant", '{"a": "Yes  Sir", "b": 1}')))
    same = [
        traced(ASK, call('{"n":2,"id":"1"}'), Message("assistant", '{"b": 1, "a": "yes sir"}')),
        traced(
            Message("user", "?"), call('{"id": "1", "n": 2}'), Message("assistant", '{"a":"yes sir","b":1}')
        ),
    ]
    other = [
        traced(ASK, call('{"id": "1", "n": 3}'), Message("assistant", '{"a": "yes sir", "b": 1}')),
        traced(ASK, call('{"id": "1", "n": 2}', "find"), Message("assistant", '{"a": "yes sir", "b": 1}')),
        traced(ASK, call('{"id": "1", "n": 2}'), Message("assistant", '{"a": "yes sir", "b": 2}')),
        traced(ASK, call('{"id": "1", "n": 2}'), Message("assistant", '{"a": "yes sir", "b": "1"}')),
        traced(ASK, call('{"id": "1", "n": 2}')),
        traced(
            ASK, call('{"id": "1", "n": 2}'), Message("assistant", '{"a": "yes sir", "b": 1}'), status="error"
        ),
    ]
    assert {outcome(t) for t in same} == {one}
    assert len({one, *(outcome(t) for t in other)}) == 7


def test_an_outcome_is_what_the_trace_had_to_go_by_too() -> None:
    def run(result: str, instructions: str = "Be kind.", status: str = "late") -> Trace:
        return traced(
            Message("system", instructions), ASK, call("{}"), Message("tool", result, tool_call_id="c"),
            Message("assistant", status),
        )  # fmt: skip

    one = outcome(run('{"event": "left the depot"}'))
    assert one == outcome(run('{"event":  "left the depot"}\n', "Be  kind."))
    others = [
        run('{"event": "left the port"}'),
        run('{"event": "left the depot"}', "Be brief."),
        run('{"event": "left the depot"}', status="lost"),
    ]
    assert len({one, *(outcome(t) for t in others)}) == 4


def test_big_numbers_and_broken_json_have_outcomes() -> None:
    big = ["123456789012345678901", '{"n": 123456789012345678901}', '{"n": 123456789012345678902}']
    answers = [*big, '{"n": ', "[" * 5000, "[" * 5001, "9", "", "-9"]
    assert len({outcome(traced(ASK, Message("assistant", a))) for a in answers}) == len(answers)


def test_what_is_asked_about_are_the_numbers_in_the_question() -> None:
    one = about(traced(ASK, Message("assistant", "no 5")))
    assert one == about(traced(Message("user", "where's 00340, please, <PERSON_1>?")))
    assert one != about(traced(Message("user", "Where is order 340?")))
    assert one == about(traced(ASK, Message("assistant", "6"), Message("user", "And 7?")))


def test_identifiers_in_the_instructions_say_what_a_trace_is_about() -> None:
    def run(instructions: str) -> int:
        return about(traced(Message("system", instructions), ASK, Message("assistant", "there")))

    assert run("Today is 2026-05-15, 14:20.") == run("Today is 2026-05-16, 9:03. Be kind.")
    assert run("Order RE-2026-000123 is late.") != run("Order RE-2026-000124 is late.")


def test_repeated_calls_are_one_step_of_the_sequence() -> None:
    def run(*names: str) -> int:
        return tool_sequence(traced(ASK, *(call("{}", name) for name in names)))

    assert run("a", "a", "b") == run("a", "b", "b")
    assert len({run(), run("a"), run("a", "b"), run("b", "a"), run("a", "b", "a")}) == 5
