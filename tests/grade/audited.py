"""Three small worlds with honest attempts, and how the audit's own tests grade them in process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from strop.grade.audit.cases import Case, Score
from strop.grade.extract import view_of_rollout
from strop.records import Grade, JsonObject, Message, Rollout, Task, Tool, ToolCall

GradeFunction = Callable[[JsonObject, JsonObject], float]
JudgeFunction = Callable[[str, str], bool]

STATUSES = ("delivered", "in_transit", "delayed", "exception", "returned", "unknown")
SENTENCES = {
    "delivered": "your shipment was delivered",
    "in_transit": "your shipment is on its way",
    "delayed": "your shipment is delayed",
    "exception": "there is a problem with your shipment",
    "returned": "your shipment is going back",
    "unknown": "the state of your shipment is unclear",
}


def tool(name: str, *parameters: str) -> Tool:
    properties = {key: {"type": "string"} for key in parameters}
    return Tool(name, f"{name} of the company", {"type": "object", "properties": properties})


def made(about: Task, calls: Sequence[tuple[str, JsonObject, JsonObject]], final: str | None) -> Rollout:
    messages: list[Message] = []
    for i, (name, arguments, result) in enumerate(calls):
        call = ToolCall(f"c{i}", name, json.dumps(arguments))
        messages += [
            Message("assistant", None, (call,)),
            Message("tool", json.dumps(result), tool_call_id=call.id),
        ]
    if final is not None:
        messages.append(Message("assistant", final))
    return Rollout(task_id=about.task_id, policy="simulated", messages=tuple(messages), final=final)


def asked(number: int, system: str, user: str, tools: tuple[Tool, ...], truth: JsonObject | None) -> Task:
    return Task(
        task_id=f"task-{number:03d}",
        messages=(Message("system", system), Message("user", user)),
        tools=tools,
        customer="acme",
        group=f"g{number}",
        split="train",
        at=number,
        ground_truth=truth,
    )


@cache
def shipments(tasks: int = 24, attempts: int = 7) -> tuple[Case, ...]:
    """The shipment desk: two look-ups, a status, an ETA, a message; about 60 % right."""
    rng = random.Random(5)
    offered = (tool("lookup_tracking", "tracking"), tool("lookup_eta", "tracking"))
    cases: list[Case] = []
    for n in range(tasks):
        status, tracking = rng.choice(STATUSES), f"{rng.randrange(10**11):012d}"
        eta = f"2026-0{rng.randint(1, 9)}-{rng.randint(10, 28)}"
        task = asked(
            n,
            f"You answer shipment inquiries. Statuses: {', '.join(STATUSES)}.",
            f"Hello, where is {tracking}? Thanks, Kim",
            offered,
            {"status": status},
        )
        cases.append(
            Case(task, tuple(_shipment(rng, task, status, tracking, eta, i) for i in range(attempts)))
        )
    return tuple(cases)


def _shipment(rng: random.Random, task: Task, status: str, tracking: str, eta: str, i: int) -> Rollout:
    found = rng.choice([s for s in STATUSES if s != status]) if i % 7 in (2, 5) else status
    calls = [
        ("lookup_tracking", {"tracking": tracking}, {"events": [f"{SENTENCES[status]}"]}),
        ("lookup_eta", {"tracking": tracking}, {"eta": eta}),
    ]
    message = f"Hello, {SENTENCES[found]}. It arrives on {eta}."
    if i % 7 == 4:
        message = found
    if i % 7 == 6:
        calls = calls[:1]
    answer = {"evidence": "the last event", "final_status": found, "eta": eta, "message": message}
    return made(task, calls, json.dumps(answer))


@cache
def refunds(tasks: int = 24, attempts: int = 6) -> tuple[Case, ...]:
    """A refund desk: look the order up, refund it, say so. The gold call stands in the ground truth."""
    rng = random.Random(9)
    offered = (
        tool("get_order", "order_id"),
        tool("issue_refund", "order_id", "amount", "payment_id"),
        tool("cancel_order", "order_id"),
    )
    cases: list[Case] = []
    for n in range(tasks):
        order, payment = f"W{rng.randrange(10**6):06d}", f"pay_{rng.randrange(10**7):07d}"
        amount = rng.randrange(500, 20000) / 100
        gold = {"order_id": order, "amount": amount, "payment_id": payment}
        truth = {"actions": [{"name": "issue_refund", "arguments": gold}], "decision": "refunded"}
        task = asked(n, "You handle refunds.", f"Please refund my order {order}.", offered, truth)
        rollouts: list[Rollout] = []
        for i in range(attempts):
            given = dict(gold) if i % 3 != 1 else {**gold, "amount": amount + 10}
            calls: list[tuple[str, JsonObject, JsonObject]] = [
                ("get_order", {"order_id": order}, {"amount": amount, "payment_id": payment}),
                ("issue_refund", given, {"ok": True}),
            ]
            answer = {"decision": "refunded", "message": f"Hello, we refunded {given['amount']} for {order}."}
            if i == 5:
                calls, answer["decision"] = calls[:1], "declined"
            rollouts.append(made(task, calls, json.dumps(answer)))
        cases.append(Case(task, tuple(rollouts)))
    return tuple(cases)


@cache
def handed_in(tasks: int = 24, attempts: int = 5) -> tuple[Case, ...]:
    """Sums that are handed in by a tool call; the last message says them too."""
    rng = random.Random(3)
    offered = (tool("read_ledger", "account"), tool("submit_final_result", "result"))
    cases: list[Case] = []
    for n in range(tasks):
        account, total = f"AC{rng.randrange(10**5):05d}", str(rng.randrange(1000, 99999))
        task = asked(n, "Add up the ledger.", f"What is the total of {account}?", offered, {"total": total})
        rollouts: list[Rollout] = []
        for i in range(attempts):
            result = total if i % 5 < 3 else str(int(total) + 11)
            calls: list[tuple[str, JsonObject, JsonObject]] = [
                ("read_ledger", {"account": account}, {"entries": [int(total) - 7, 7]}),
                ("submit_final_result", {"result": result}, {"ok": True}),
            ]
            rollouts.append(made(task, calls, f"The total of {account} is {result}."))
        cases.append(Case(task, tuple(rollouts)))
    return tuple(cases)


@cache
def questions(tasks: int = 24, attempts: int = 5) -> tuple[Case, ...]:
    """Questions answered in plain sentences, without tools."""
    rng = random.Random(4)
    words = ("return", "warranty", "delivery", "repair", "exchange", "storage", "cleaning", "charging")
    cases: list[Case] = []
    for n in range(tasks):
        topic, days = words[n % len(words)], rng.randrange(3, 90)
        task = asked(n, "Answer from the handbook.", f"How long is the {topic} period of item {n}?", (), None)
        truth = {"answer": f"The {topic} period is {days} days.", "days": days, "topic": topic}
        task = msgspec.structs.replace(task, ground_truth=truth)
        rollouts: list[Rollout] = []
        for i in range(attempts):
            said = days if i % 5 < 3 else days + 5
            rollouts.append(made(task, (), f"Hello, the {topic} period of item {n} is {said} days."))
        cases.append(Case(task, tuple(rollouts)))
    return tuple(cases)


def scored(
    grade: GradeFunction,
    fields: Sequence[str] = (),
    judges: Mapping[str, tuple[JudgeFunction, str | None]] | None = None,
) -> Score:
    """Grade in process as the scorer does: views, verdicts, then the function; what it raises is an error."""

    def score(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
        grades: list[Grade] = []
        for task, rollout in pairs:
            seen = view_of_rollout(task, rollout, fields)
            verdicts: dict[str, bool] = {}
            for name, (judge, field) in (judges or {}).items():
                text: Any = seen.final if field is None else (seen.answer or {}).get(field)
                verdicts[name] = isinstance(text, str) and judge(seen.inquiry, text)
            first, second = seen.arguments("rollout", task.ground_truth or {}, verdicts)
            try:
                value = float(grade(first, second))
            except Exception as error:
                grades.append(Grade(error=f"raised {type(error).__name__}: {error}"))
                continue
            ok = 0.0 <= value <= 1.0
            grades.append(Grade(score=value) if ok else Grade(error=f"raised: {value} is no score"))
        return grades

    return score


@cache
def totals(tasks: int = 24, attempts: int = 5) -> tuple[Case, ...]:
    """Invoices whose total is read out of the prompt."""
    rng = random.Random(6)
    cases: list[Case] = []
    for n in range(tasks):
        total = rng.randrange(1000, 900000) / 100
        task = asked(
            n,
            "Read the invoice.",
            f"Invoice {n}: goods and freight, in all {total} EUR",
            (),
            {"total": total},
        )
        values = [total if i % 5 < 3 else total * 1.19 for i in range(attempts)]
        cases.append(Case(task, tuple(made(task, (), json.dumps({"total": round(v, 2)})) for v in values)))
    return tuple(cases)


@cache
def coded(tasks: int = 24, attempts: int = 5) -> tuple[Case, ...]:
    """Small programs as answers."""
    cases: list[Case] = []
    for n in range(tasks):
        body = f"return a * {n + 2} + {n}"
        task = asked(n, "Write the function.", f"Write f(a) for exercise {n}.", (), {"body": body})
        bodies = [body if i % 5 < 3 else f"return a * {n + 2} - {n + 1}" for i in range(attempts)]
        finals = [json.dumps({"code": f"def f(a):\n    {b}\n"}) for b in bodies]
        cases.append(Case(task, tuple(made(task, (), final) for final in finals)))
    return tuple(cases)
