"""A local model that answers one conversation at a time, and never computes a token twice.

Greedy answers are drafted from what was said before (Leviathan et al. 2023; the draft is a lookup of
the last tokens in the conversation and in recent answers): several drafted tokens are checked in
one pass that costs a CPU little more than one token, and the first that differs from the model's
own choice ends the draft. The answer is the model's own, token for token, up to the rounding in which
bfloat16 kernels differ between one token and several.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from strop.errors import InputError
from strop.models.chat import ChatReply
from strop.models.llama import Cache, Llama, load_llama
from strop.models.render import Renderer, parse_reply
from strop.models.sampler import draw
from strop.records import Message, Tool, Usage

# Drafts: what followed the same tokens before. A step with 17 tokens costs half as much again as one with
# a single token, so guessing pays as soon as it saves every third step.
_NGRAMS = (4, 3, 2)
_DRAFT = 16
_REMEMBERED = 200  # replies


def best_dtype() -> torch.dtype:
    """Return bfloat16 where a one-second probe finds it faster than float32, else float32."""
    a, b = torch.randn(256, 576), torch.randn(576, 3072)
    times: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, w = a.to(dtype), b.to(dtype)
        tries: list[float] = []
        for _ in range(12):
            started = time.perf_counter()
            torch.matmul(x, w)
            tries.append(time.perf_counter() - started)
        times[dtype] = min(tries)  # the fastest: a busy machine must not decide
    return min(times, key=lambda d: times[d])


class LocalModel:
    """A model in this process. Implements `ChatModel`; not thread-safe: callers queue."""

    def __init__(self, model: Llama, renderer: Renderer, max_tokens: int = 4096) -> None:
        self.model = model
        self.renderer = renderer
        self.max_tokens = max_tokens
        self._cache = Cache(model.shape, 1, max_tokens, model.dtype)
        self._cached: list[int] = []
        self._recent: deque[list[int]] = deque(maxlen=_REMEMBERED)

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None, max_tokens: int = 4096) -> LocalModel:
        """Load a Hugging Face folder; bfloat16 where the machine is fast at it."""
        if threads:
            torch.set_num_threads(threads)
        return cls(load_llama(folder, best_dtype()), Renderer(folder), max_tokens)

    @torch.inference_mode()
    def chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        max_new_tokens: int = 160,
        temperature: float = 0.0,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Answer with one assistant message (see `ChatModel.chat`)."""
        started = time.perf_counter()
        prompt = self.renderer.prompt(messages, tools)
        if len(prompt) + max_new_tokens + _DRAFT + 1 > self.max_tokens:
            raise InputError(
                f"the conversation has {len(prompt)} tokens; with {max_new_tokens} new ones it passes "
                f"the limit of {self.max_tokens}",
                fix="shorten the conversation or lower max_tokens",
            )
        uniforms = None if temperature == 0 else np.random.default_rng(seed).random(max_new_tokens)
        show = _Shown(self.renderer, on_text)
        ids = self._generate(prompt, max_new_tokens, temperature, uniforms, show)
        stopped = bool(ids) and ids[-1] == self.renderer.end
        text = self.renderer.decode(ids[:-1] if stopped else ids)
        first_call = sum(len(m.tool_calls) for m in messages)
        message = parse_reply(text, first_call)
        show.finish(message)
        self._recent.append(ids)
        return ChatReply(
            message=message,
            usage=Usage(len(prompt), len(ids)),
            finish_reason="length" if not stopped else "tool_calls" if message.tool_calls else "stop",
            seconds=time.perf_counter() - started,
        )

    def _generate(
        self,
        prompt: list[int],
        max_new: int,
        temperature: float,
        uniforms: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None,
        show: _Shown,
    ) -> list[int]:
        ids: list[int] = []
        fed = self._reuse(prompt)
        waiting = prompt[fed:]
        while len(ids) < max_new:
            draft = self._draft(prompt, ids, max_new - len(ids) - 1) if uniforms is None else []
            tokens = waiting + draft
            hidden = self.model.step(torch.tensor([tokens]), torch.tensor([fed]), self._cache)
            logits = self.model.logits(hidden[0, len(waiting) - 1 :])
            if uniforms is None:
                own: list[int] = logits.argmax(-1).tolist()
            else:
                uniform = torch.tensor([uniforms[len(ids)]])
                own = draw(logits / temperature, uniform)[0].tolist()
            agreed = 0
            while agreed < len(draft) and own[agreed] == draft[agreed] and own[agreed] != self.renderer.end:
                agreed += 1
            new = own[: agreed + 1]
            ids += new
            # Drafted tokens that were wrong lie behind the row's end and are overwritten.
            fed += len(waiting) + agreed
            self._cached = (prompt + ids)[:fed]
            waiting = new[-1:]
            show.tokens(ids)
            if new[-1] == self.renderer.end:
                break
        return ids

    def _reuse(self, prompt: list[int]) -> int:
        """Return how many tokens of the prompt the cache already holds, at most all but one."""
        same = 0
        limit = min(len(prompt) - 1, len(self._cached))
        while same < limit and prompt[same] == self._cached[same]:
            same += 1
        return same

    def _draft(self, prompt: list[int], ids: list[int], room: int) -> list[int]:
        room = min(room, _DRAFT)
        if room <= 0:
            return []
        said = prompt + ids
        texts = [said[:-1], *reversed(self._recent)]
        for length in _NGRAMS:
            key = said[-length:]
            for text in texts:
                for at in range(len(text) - length, -1, -1):
                    if text[at] == key[0] and text[at : at + length] == key:
                        found = text[at + length : at + length + room]
                        if found:
                            return found
        return []


class _Shown:
    """Streams content as it appears, and nothing of a tool call's markup."""

    def __init__(self, renderer: Renderer, on_text: Callable[[str], None] | None) -> None:
        self._renderer, self._on_text, self._shown = renderer, on_text, ""

    def tokens(self, ids: list[int]) -> None:
        if self._on_text is None:
            return
        text = self._renderer.decode([i for i in ids if i != self._renderer.end])
        # Hold back what may yet become a call, and an unfinished character.
        safe = text.split("<tool_call", 1)[0].rstrip("\ufffd")
        for n in range(min(len("<tool_call") - 1, len(safe)), 0, -1):
            if "<tool_call".startswith(safe[-n:]):
                safe = safe[:-n]
                break
        self._on_text(safe[len(self._shown) :])
        self._shown = max(self._shown, safe, key=len)

    def finish(self, message: Message) -> None:
        if self._on_text is None or message.tool_calls:
            return
        rest = (message.content or "")[len(self._shown) :]
        if rest:
            self._on_text(rest)
