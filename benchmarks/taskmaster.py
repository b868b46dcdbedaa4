"""The agent's next step on human data: Google's Taskmaster-4 coffee orders, before and after training.

    python benchmarks/taskmaster.py --sft-steps 60 --grpo-steps 20 --out benchmarks/results/taskmaster.json

A step is what the agent did next in a dialogue that people wrote: an API call or a sentence. The model
sees everything before it and is asked for one turn; trainer, renderer, rollouts and intervals are
strop's own. The data (CC BY 4.0) is read from STROP_SHARED, else from `shared/` beside the clone.

Score of an API call: 0.3 for the right tool (the first call counts) and 0.7 for the share of right
arguments, over all names that either side gave. Score of a sentence: 0.3 for making no call and 0.7 for
the overlap of words with the human's sentence (F1), which is no measure of how good the sentence is.
Exact match and tool match are counted on API calls alone. Intervals are clustered by dialogue.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from strop.config import Train
from strop.environments import Limits, ReplayTable, roll_out
from strop.models.llama import Llama, load_llama
from strop.models.local import best_dtype
from strop.models.render import Renderer, compact_arguments
from strop.models.weights import base_folder
from strop.records import Grade, JsonObject, Message, Rollout, Task, Tool, ToolCall, digest
from strop.stats.cluster import Estimate, cluster_mean, paired
from strop.train.data import Row
from strop.train.grpo import Grpo
from strop.train.optimizer import MasterAdamW
from strop.train.order import pick
from strop.train.sft import sft_step

REPO = Path(__file__).resolve().parents[1]
SYSTEM = "You take orders at a coffee bar. Call one tool, or say one sentence to the customer."


def _tool(name: str, required: Sequence[str], optional: Sequence[str] = ()) -> Tool:
    lists = {"attributes", "addons", "fields"}
    kinds = {key: {"type": "array" if key in lists else "string"} for key in (*required, *optional)}
    return Tool(name, "", {"type": "object", "properties": kinds, "required": list(required)})


TOOLS = (
    _tool("show_menu", ()),
    _tool("get_menu_items", ("query",), ("fields",)),
    _tool("get_addons", ("query",), ("menu_item_id", "scope")),
    _tool("add_order_item", ("menu_item_id", "quantity"), ("attributes", "addons", "notes", "order_id")),
    _tool("update_order_item", ("order_item_id",), ("attributes", "addons")),
    _tool("update_order", ("order_id", "attributes")),
    _tool("get_order_details", ("order_id",)),
    _tool("finish_order", ("order_id",)),
)


@dataclass
class Steps:
    """Steps by split, and what was left out with its reason."""

    train: list[Task] = field(default_factory=list[Task])
    held_out: list[Task] = field(default_factory=list[Task])
    left_out: Counter[str] = field(default_factory=Counter[str])


def data_folder() -> Path:
    """Return where Taskmaster-4 lies."""
    return Path(os.environ.get("STROP_SHARED") or REPO.parent / "shared") / "data" / "taskmaster4_coffee"


def read_dialogues(folder: Path) -> list[JsonObject]:
    """Return all dialogues, in the order of the files."""
    files = sorted(folder.glob("data_*.json"))
    if not files:
        raise SystemExit(f"no Taskmaster-4 dialogues in {folder}: set STROP_SHARED")
    return [dialogue for file in files for dialogue in json.loads(file.read_text(encoding="utf-8"))]


def conversation(dialogue: JsonObject) -> tuple[list[Message], bool]:
    """Return a dialogue as chat messages, and whether it broke off at a call that can't be read."""
    messages: list[Message] = []
    for utterance in dialogue["utterances"]:
        messages.append(Message(utterance["speaker"], utterance["text"].strip()))
        parts: dict[str, dict[str, str]] = {}
        for note in utterance.get("annotations") or []:
            number = note["context"].rsplit("_", 1)[-1]
            parts.setdefault(number, {})[note["name"]] = note["value"]
        for number, part in parts.items():
            arguments = _object(part.get("request", "{}"))
            if arguments is None or "api_call" not in part:
                return messages, True
            call = ToolCall(f"call_{number}", part["api_call"], json.dumps(arguments, ensure_ascii=False))
            messages.append(Message("assistant", None, (call,)))
            result = part.get("response", "{}")
            messages.append(Message("tool", result, tool_call_id=call.id, name=call.name))
    return messages, False


def _object(text: str) -> JsonObject | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def steps_of(dialogue: JsonObject) -> Iterator[Task]:
    """Yield one task for each step of the agent; its reference is the ground truth."""
    messages, _ = conversation(dialogue)
    name = dialogue["conversation_id"]
    for i, message in enumerate(messages):
        if message.role != "assistant" or not any(m.role == "user" for m in messages[:i]):
            continue
        call = message.tool_calls[0] if message.tool_calls else None
        truth = (
            {"sentence": message.content} if call is None else {"name": call.name, "arguments": call.parsed()}
        )
        yield Task(
            task_id=f"{name}:{i}",
            messages=(Message("system", SYSTEM), *messages[:i]),
            tools=TOOLS,
            customer=name,
            group=name,
            split="train",
            at=0,
            ground_truth=truth,
        )


def asked(task: Task) -> str:
    """Return what is asked as one text, for the leakage check."""
    parts = [m.content or compact_arguments(m.tool_calls[0]) for m in task.messages]
    return re.sub(r"\s+", " ", "\n".join(parts)).strip().lower()


def split(dialogues: Sequence[JsonObject], count: int, share: float = 0.2) -> Steps:
    """Split by dialogue, by hash; hold `count` steps out.

    A dialogue whose words occur on the other side is left out of training; a step whose whole context
    occurs in training ("one Chai Latte please", and nothing before) is left out of the held-out ones.
    """
    steps = Steps()
    ordered = sorted(dialogues, key=lambda d: digest(["taskmaster", d["conversation_id"]]))
    border = round(len(ordered) * share)
    words = {_words(d) for d in ordered[:border]}
    for dialogue in ordered[border:]:
        if _words(dialogue) in words:
            steps.left_out["training dialogue with a held-out dialogue's words"] += 1
        else:
            steps.train += steps_of(dialogue)
    seen = {asked(task) for task in steps.train}
    for dialogue in ordered[:border]:
        for task in steps_of(dialogue):
            if asked(task) in seen:
                steps.left_out["held-out step whose context is in training"] += 1
            else:
                steps.held_out.append(task)
    steps.left_out["dialogue cut at an unreadable call"] = sum(conversation(d)[1] for d in dialogues)
    steps.held_out = sorted(steps.held_out, key=lambda task: digest(["step", task.task_id]))[:count]
    return steps


def _words(dialogue: JsonObject) -> str:
    return " ".join(" ".join(u["text"].lower().split()) for u in dialogue["utterances"])


def judge(task: Task, rollout: Rollout) -> dict[str, float]:
    """Return the score of one step with what it is made of; NaN where a measure doesn't apply."""
    truth = task.ground_truth or {}
    nan = float("nan")
    if not rollout.messages:  # the prompt was too long: nothing was said
        said, answered = Message("assistant", None), 0.0
    else:
        said, answered = rollout.messages[0], 1.0
    if "sentence" in truth:
        spoke = answered * float(not said.tool_calls and "<tool_call>" not in (said.content or ""))
        words = spoke * overlap(said.content or "", truth["sentence"])
        return {"score": 0.3 * spoke + 0.7 * words, "exact": nan, "tool": nan, "spoke": spoke, "words": words}
    call = said.tool_calls[0] if said.tool_calls else None
    tool = float(call is not None and call.name == truth["name"])
    given: JsonObject = _stripped((call.parsed() or {}) if call is not None else {})
    wanted: JsonObject = _stripped(truth["arguments"])
    right = [k in given and k in wanted and given[k] == wanted[k] for k in given.keys() | wanted.keys()]
    share = tool * (sum(right) / len(right) if right else 1.0)
    exact = float(share == 1.0 and len(said.tool_calls) == 1)
    return {"score": 0.3 * tool + 0.7 * share, "exact": exact, "tool": tool, "spoke": nan, "words": nan}


def _stripped(value: Any) -> Any:
    """Return a JSON value without the white space that people left at the ends of its texts."""
    if isinstance(value, dict):
        return {key: _stripped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stripped(inner) for inner in value]
    return value.strip() if isinstance(value, str) else value


def overlap(one: str, other: str) -> float:
    """Return the F1 of the words of two sentences."""
    a, b = (Counter(re.findall(r"\w+", text.lower())) for text in (one, other))
    common = (a & b).total()
    return 2 * common / (a.total() + b.total()) if common else 0.0


def reward(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
    """Grade rollouts as the trainer asks for it."""
    grades: list[Grade] = []
    for task, rollout in pairs:
        found = judge(task, rollout)
        parts = {key: value for key, value in found.items() if key != "score" and value == value}
        grades.append(Grade(score=found["score"], components=parts))
    return grades


def row_of(renderer: Renderer, task: Task) -> Row:
    """Return a step with its human reference as a row to imitate."""
    truth = task.ground_truth or {}
    if "sentence" in truth:
        reply = Message("assistant", truth["sentence"])
    else:
        arguments = json.dumps(truth["arguments"], ensure_ascii=False)
        reply = Message("assistant", None, (ToolCall("call_0", truth["name"], arguments),))
    prompt, answer = renderer.prompt(task.messages, task.tools), renderer.reply(reply)
    return Row([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))


MEASURES = ("exact", "tool", "score", "spoke", "words")


@dataclass
class Arm:
    """One model on the held-out steps."""

    name: str
    values: dict[str, list[float]]
    clusters: list[str]
    problems: dict[str, int]

    def chosen(self, measure: str) -> list[int]:
        return [i for i, value in enumerate(self.values[measure]) if value == value]

    def estimate(self, measure: str, over: Arm | None = None) -> Estimate | None:
        """Return the mean, or the paired difference to another arm; None where nothing was measured."""
        at = self.chosen(measure)
        if not at:
            return None
        own, clusters = [self.values[measure][i] for i in at], [self.clusters[i] for i in at]
        if over is None:
            return cluster_mean(own, clusters)
        return paired(own, [over.values[measure][i] for i in at], clusters)


def evaluate(name: str, model: Llama, renderer: Renderer, tasks: Sequence[Task], limits: Limits) -> Arm:
    """Ask for one turn a step at temperature 0."""
    started = time.perf_counter()
    rollouts = [t.rollout(name) for t in roll_out(model, renderer, tasks, ReplayTable([]), limits)]
    found = [judge(task, rollout) for task, rollout in zip(tasks, rollouts, strict=True)]
    values = {key: [one[key] for one in found] for key in MEASURES}
    # "turn limit" is how a step that calls a tool ends: one turn is all that is asked.
    problems = Counter(r.problem for r in rollouts if r.problem not in (None, "turn limit"))
    print(f"{name}: {len(tasks)} steps in {time.perf_counter() - started:.0f} s", flush=True)
    return Arm(name, values, [task.group for task in tasks], {str(k): v for k, v in problems.items()})


def copy_of(model: Llama, folder: Path) -> Llama:
    """Return a frozen copy."""
    twin = load_llama(folder, model.dtype)
    twin.load_state_dict(model.state_dict())
    return twin


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Convert, train, measure; return the document."""
    started = time.perf_counter()
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    folder = base_folder(options.base, options.cache, Path.cwd())
    renderer = Renderer(folder)
    dtype = best_dtype() if options.dtype == "auto" else getattr(torch, options.dtype)
    steps = split(read_dialogues(data_folder()), options.held_out)
    limits = Limits(1, options.max_new_tokens, options.max_tokens, 32)
    fitting = [
        task
        for task in steps.train
        if len(row_of(renderer, task).ids) + options.max_new_tokens <= options.max_tokens
    ]
    steps.left_out["training step longer than max_tokens"] = len(steps.train) - len(fitting)
    settings = Train(
        seed=options.seed, sft_steps=options.sft_steps, sft_batch=options.sft_batch, sft_lr=options.sft_lr,
        grpo_steps=options.grpo_steps, grpo_prompts=options.grpo_prompts, grpo_group=options.grpo_group,
        grpo_lr=options.grpo_lr, max_new_tokens=options.max_new_tokens, max_tokens=options.max_tokens,
    )  # fmt: skip
    model = load_llama(folder, dtype)
    arms = [evaluate("base", model, renderer, steps.held_out, limits)]
    telemetry = imitate(model, renderer, fitting, settings)
    arms.append(evaluate("sft", model, renderer, steps.held_out, limits))
    telemetry += practise(model, folder, renderer, fitting, settings, limits)
    arms.append(evaluate("grpo", model, renderer, steps.held_out, limits))
    return {
        "benchmark": "taskmaster",
        "data": data_report(steps, fitting),
        "settings": {**settings.model_dump(mode="json"), "base": options.base, "dtype": str(dtype)},
        "arms": {arm.name: arm_report(arm) for arm in arms},
        "differences": {f"{b.name} - {a.name}": arm_report(b, a) for a, b in pairwise(arms)},
        "steps": telemetry,
        "seconds": round(time.perf_counter() - started, 1),
    }


def imitate(model: Llama, renderer: Renderer, tasks: Sequence[Task], settings: Train) -> list[dict[str, Any]]:
    """Warm-start the model in place."""
    optimizer, lines = MasterAdamW(model), list[dict[str, Any]]()
    for step in range(settings.sft_steps):
        rows = [row_of(renderer, t) for t in pick(tasks, settings.sft_batch, f"{settings.seed}/sft", step)]
        line = sft_step(model, optimizer, rows, step=step, steps=settings.sft_steps, lr=settings.sft_lr)
        lines.append({"phase": "sft", "step": step + 1, **line})
        print(f"sft {step + 1}: loss {line['loss']:.3f}, {line['seconds']:.1f} s", flush=True)
    return lines


def practise(
    model: Llama, folder: Path, renderer: Renderer, tasks: Sequence[Task], settings: Train, limits: Limits
) -> list[dict[str, Any]]:
    """Improve the model in place by reward; the groups are rolled out from its own warm start."""
    grpo = Grpo(
        model=model, warm=copy_of(model, folder), base=load_llama(folder, model.dtype), renderer=renderer,
        optimizer=MasterAdamW(model), table=ReplayTable([]), reward=reward, limits=limits,
        settings=settings, tasks=tasks, hard=(),
    )  # fmt: skip
    lines: list[dict[str, Any]] = []
    for step in range(settings.grpo_steps):
        line, _ = grpo.step(step)
        lines.append({"phase": "grpo", "step": step + 1, **line})
        print(f"grpo {step + 1}: reward {line['reward']:.3f}, {line['seconds']:.1f} s", flush=True)
    return lines


def data_report(steps: Steps, fitting: Sequence[Task]) -> dict[str, Any]:
    """Count what was trained on, what was held out, and what was left out."""
    calls = [task for task in steps.held_out if "name" in (task.ground_truth or {})]
    return {
        "training_dialogues": len({task.group for task in fitting}),
        "training_steps": len(fitting),
        "held_out_dialogues": len({task.group for task in steps.held_out}),
        "held_out_steps": len(steps.held_out),
        "held_out_calls": len(calls),
        "shared_contexts": len({asked(t) for t in steps.held_out} & {asked(t) for t in steps.train}),
        "left_out": dict(steps.left_out),
    }


def arm_report(arm: Arm, over: Arm | None = None) -> dict[str, Any]:
    """Return the means of an arm (or its differences to another one) with their intervals."""
    report: dict[str, Any] = {} if over else {"problems": arm.problems}
    for measure in MEASURES:
        found = arm.estimate(measure, over)
        if found is not None:
            report[measure] = {
                "mean": round(found.mean, 4), "ci95": [round(found.low, 4), round(found.high, 4)],
                "n": found.n, "dialogues": found.clusters,
            }  # fmt: skip
    return report


def table(document: dict[str, Any]) -> str:
    """Return the arms as one table."""
    data = document["data"]
    lines = [
        f"{data['held_out_calls']} API calls and {data['held_out_steps'] - data['held_out_calls']} sentences "
        f"of {data['held_out_dialogues']} dialogues never seen; 95 % intervals clustered by dialogue",
        f"{'':14}{'exact call':>22}{'right tool':>22}{'score':>22}{'no call, sentences':>22}",
    ]
    rows = {**document["arms"], **document["differences"]}
    for name, arm in rows.items():
        cells = [_cell(arm.get(measure)) for measure in ("exact", "tool", "score", "spoke")]
        lines.append(f"{name:14}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{found['mean']:.2f} [{found['ci95'][0]:.2f}, {found['ci95'][1]:.2f}]"


def parser() -> argparse.ArgumentParser:
    """Return the flags."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--base", default="smollm2-135m", help="the embedded model or a folder")
    p.add_argument("--cache", type=Path, default=Path(os.environ.get("STROP_CACHE") or REPO / ".cache"))
    p.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    p.add_argument("--threads", type=int)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--sft-steps", type=int, default=60)
    p.add_argument("--sft-batch", type=int, default=8)
    p.add_argument("--sft-lr", type=float, default=1e-4)
    p.add_argument("--grpo-steps", type=int, default=20)
    p.add_argument("--grpo-prompts", type=int, default=4)
    p.add_argument("--grpo-group", type=int, default=8)
    p.add_argument("--grpo-lr", type=float, default=5e-6)
    p.add_argument("--held-out", type=int, default=300, help="held-out steps")
    p.add_argument("--max-tokens", type=int, default=1536)
    p.add_argument("--max-new-tokens", type=int, default=128)
    p.add_argument("--out", type=Path)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser().parse_args(arguments)
    document = run(options)
    print(table(document))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
