"""Token rows: only what the assistant says is scored, and every row is seen as often as any other."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taught import episode
from tiny import tiny_model

from strop.curate.surrogates import fill
from strop.models.render import Renderer
from strop.records import Curated, Episode, Message, ToolCall
from strop.train.data import Row, collate, episode_row, microbatches
from strop.train.order import pick


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tiny_model(tmp_path_factory.mktemp("tiny")))


def with_messages(curated: Curated, *messages: Message) -> Curated:
    (old,) = curated.trace.episodes
    trace = msgspec.structs.replace(curated.trace, episodes=(Episode(messages, old.tools),))
    return msgspec.structs.replace(curated, trace=trace)


def scored_pieces(renderer: Renderer, row: Row) -> list[str]:
    pieces: list[list[int]] = []
    for i, on in enumerate(row.scored):
        if on:
            if i == 0 or not row.scored[i - 1]:
                pieces.append([])
            pieces[-1].append(row.ids[i])
    return [renderer.decode(piece) for piece in pieces]


def test_the_assistants_tokens_are_scored_and_no_others(renderer: Renderer) -> None:
    row = episode_row(renderer, episode(7))
    assert row is not None
    assert scored_pieces(renderer, row) == [
        '<tool_call>{"name": "t", "arguments": {"id": "07"}}</tool_call><|im_end|>',
        '{"s": "1"}<|im_end|>',
    ]


words = st.text("ab<|>_1 \n", max_size=8)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["assistant", "call", "user"]), words), max_size=6), words)
def test_an_episode_is_encoded_as_the_renderer_encodes_it(
    renderer: Renderer, turns: list[tuple[str, str]], last: str
) -> None:
    messages = [Message("system", "Help."), Message("user", "hi <PERSON_1>")]
    for i, (kind, text) in enumerate(turns):
        if kind == "call":
            messages.append(Message("assistant", text or None, (ToolCall(f"c{i}", "t", '{"id":"1"}'),)))
            messages.append(Message("tool", text, tool_call_id=f"c{i}"))
        else:
            messages.append(Message("user" if kind == "user" else "assistant", text))
    messages.append(Message("assistant", last))
    curated = with_messages(episode(1), *messages)
    row = episode_row(renderer, curated)
    assert row is not None
    shown = fill(messages, curated.trace_hash)
    tools = curated.trace.episodes[0].tools
    # What comes after the last answer's end is the newline before a next turn.
    assert [*row.ids, *renderer.text("\n")] == renderer.conversation(shown, tools)
    assert "PERSON" not in renderer.decode(row.ids)
    answers = [m for m in shown if m.role == "assistant"]
    assert sum(row.scored) == sum(len(renderer.reply(m)) for m in answers)


@pytest.mark.parametrize(
    "end",
    [
        (Message("user", "q"),),
        (Message("user", "q"), Message("assistant", "a"), Message("user", "thanks")),
        (Message("user", "q"), Message("assistant", None, (ToolCall("c", "t", "{}"),))),
    ],
)
def test_an_episode_without_a_last_answer_is_not_imitated(
    renderer: Renderer, end: tuple[Message, ...]
) -> None:
    assert episode_row(renderer, with_messages(episode(1), *end)) is None


@given(st.integers(1, 12), st.integers(1, 7), st.integers(0, 5))
def test_each_epoch_sees_each_item_once(size: int, count: int, seed: int) -> None:
    items = list(range(size))
    steps = size * 2  # count epochs twice
    seen = [x for step in range(steps) for x in pick(items, count, str(seed), step)]
    assert len(seen) == steps * count
    for start in range(0, len(seen) - size + 1, size):
        assert sorted(seen[start : start + size]) == items
    assert pick(items, count, str(seed), 3) == pick(items, count, str(seed), 3)


def test_epochs_and_seeds_differ() -> None:
    items = list(range(50))
    assert pick(items, 50, "a", 0) != pick(items, 50, "a", 1)
    assert pick(items, 50, "a", 0) != pick(items, 50, "b", 0)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=20), st.integers(1, 120))
def test_microbatches_hold_every_row_once_and_keep_to_their_size(lengths: list[int], tokens: int) -> None:
    rows = [Row([i] * n, [False] * (n - 1) + [True]) for i, n in enumerate(lengths)]
    groups = list(microbatches(rows, tokens))
    assert Counter(row.ids[0] for group in groups for row in group) == Counter(range(len(rows)))
    for group in groups:
        assert len(group) == 1 or max(len(row.ids) for row in group) * len(group) <= tokens


def test_a_batch_points_at_the_tokens_before_the_scored_ones() -> None:
    rows = [
        Row([5, 6, 7], [False, True, True], 0.5, (-1.0, -2.0)),
        Row([8, 9, 10, 11], [False, False, False, True]),
    ]
    batch = collate(rows)
    assert batch.ids_B_T.tolist() == [[5, 6, 7, 0], [8, 9, 10, 11]]
    assert batch.at_N.tolist() == [0, 1, 6]
    assert batch.targets_N.tolist() == [6, 7, 11]
    assert batch.logprobs_N.tolist() == [-1.0, -2.0, 0.0]
    assert batch.weights_N.tolist() == [0.5, 0.5, 1.0]
    assert batch.counts_N.tolist() == [1.0, 1.0, 1.0]


def test_labels_are_in_no_training_row(renderer: Renderer) -> None:
    labelled = msgspec.structs.replace(episode(3), ground_truth={"s": "LABEL"})
    row = episode_row(renderer, labelled)
    assert row is not None
    assert "LABEL" not in renderer.decode(row.ids)
