"""Short expressions over the columns of a row, tried on rows that the prompt does not show."""

from __future__ import annotations

import random
from dataclasses import dataclass

from forty.world import Attempt, Kind, Simulated, World, plan, rollout, task
from strop.records import JsonObject, Rollout, Task

NAME = "expressions"
SYSTEM = (
    "Write one expression for the rule engine. It may use the columns, numbers, + - * / // %, "
    "comparisons, and, or, not, `x if c else y`, min, max, abs and round; 80 characters at most. Reply "
    "with JSON: expression, explanation (one sentence of 5 to 30 words that names the columns)."
)


@dataclass(frozen=True)
class Rule:
    """One kind of rule: a and b are its numbers, drawn for each task.

    right: equivalent solutions; near: wrong at the boundary only; off: plainly wrong; rows: values of
    the columns relative to a, in this order, the third and the fourth at the boundary.
    """

    columns: tuple[str, ...]
    asked: str
    right: tuple[str, ...]
    near: str
    off: str
    a: tuple[int, ...]
    b: tuple[int, ...]


RULES = (
    Rule(("qty", "price"), "The total: qty times price, with {b} off the total from {a} pieces on.",
         ("qty * price - {b} if qty >= {a} else qty * price", "qty * price - (qty >= {a}) * {b}"),
         "qty * price - {b} if qty > {a} else qty * price", "qty + price - {b}",
         (8, 10, 12, 15), (2, 3, 4)),
    Rule(("total",), "The postage: free from a total of {a} on, below that a tenth of the total plus {b}.",
         ("0 if total >= {a} else total / 10 + {b}", "total * 0.1 + {b} if total < {a} else 0"),
         "0 if total > {a} else total / 10 + {b}", "total / 10 + {b}",
         (20, 30, 50, 75), (1, 2, 3)),
    Rule(("stock",), "How many packs of {b} to order for a stock of {a} again, rounded up, never below 0.",
         ("max(0, -(-({a} - stock) // {b}))", "max(0, ({a} - stock + {b} - 1) // {b})"),
         "max(0, ({a} - stock) // {b})", "stock - {a}",
         (20, 40, 60), (3, 4, 5)),
    Rule(("days",), "The late fee: {b} for each day after the first {a} days, at most 30.",
         ("min(30, max(0, days - {a}) * {b})", "max(0, min(30, (days - {a}) * {b}))"),
         "min(30, max(0, days - {a} + 1) * {b})", "days * {b} + {a}",
         (7, 10, 14), (2, 3, 4)),
    Rule(("weight", "price"), "The price plus {b} for each unit of weight above {a}.",
         ("price + max(0, weight - {a}) * {b}", "price + (weight - {a}) * {b} if weight > {a} else price"),
         "price + abs(weight - {a}) * {b}", "price * {b} + weight",
         (10, 20, 30), (2, 3, 5)),
    Rule(("sales",), "The commission: sales divided by {b}, and twice that from sales of {a} on.",
         ("sales / {b} * (2 if sales >= {a} else 1)", "sales * 2 / {b} if sales >= {a} else sales / {b}"),
         "sales / {b} * (2 if sales > {a} else 1)", "sales * {b}",
         (15, 25, 40), (4, 5, 8)),
    Rule(("temp",), "The temperature, but never below {a} and never above {a} plus {b}.",
         ("max({a}, min({a} + {b}, temp))", "min({a} + {b}, max({a}, temp))"),
         "max({a}, temp)", "temp - {a}",
         (16, 18, 20), (3, 4, 6)),
    Rule(("cost", "price"), "The margin: price less cost, less {b} where the cost is {a} or more.",
         ("price - cost - ({b} if cost >= {a} else 0)", "price - cost - {b} * (cost >= {a})"),
         "price - cost - ({b} if cost > {a} else 0)", "cost - price + {b}",
         (8, 12, 20), (1, 2, 3)),
)  # fmt: skip
NAMES = {"min": min, "max": max, "abs": abs, "round": round}


def value_of(expression: str, row: dict[str, int]) -> float:
    """Evaluate an expression of this file on a row."""
    return eval(expression, {"__builtins__": {}}, {**NAMES, **row})


def build() -> Simulated:
    """Build the world: 64 rules, seven attempts each; eight rows a rule, the first two in the prompt."""
    rng = random.Random(20266)
    cases: list[tuple[Task, tuple[Rollout, ...]]] = []
    quality: dict[str, tuple[float, ...]] = {}
    for number in range(64):
        rule = RULES[number % len(RULES)]
        a, b = rng.choice(rule.a), rng.choice(rule.b)
        rows = [_row(rng, rule, a, offset) for offset in (-4, 5, 0, 1, -1, 9, -6, 3)]
        right = [form.format(a=a, b=b) for form in rule.right]
        tests = [{"inputs": row, "expected": value_of(right[0], row)} for row in rows]
        shown = "\n".join(f"{test['inputs']} -> {test['expected']}" for test in tests[:2])
        asked = f"Columns: {', '.join(rule.columns)}.\n{rule.asked.format(a=a, b=b)}\nExamples:\n{shown}"
        truth: JsonObject = {"tests": tests, "columns": list(rule.columns), "reference": right[0]}
        about = task(NAME, number, SYSTEM, asked, (), truth)
        wrong = (rule.near.format(a=a, b=b), rule.off.format(a=a, b=b))
        attempts = [_attempt(rng, rule, right, wrong, kind) for kind in plan(rng)]
        cases.append((about, tuple(rollout(about, a) for a in attempts)))
        quality[about.task_id] = tuple(a.quality for a in attempts)
    world = World(
        name=NAME,
        extract=("expression", "explanation"),
        cases=tuple(cases),
        judges={},
        judge_fields={},
        reads=frozenset(),
        writes=frozenset(),
    )
    return Simulated(world, quality)


def _row(rng: random.Random, rule: Rule, a: int, offset: int) -> dict[str, int]:
    # Other columns are drawn wide apart, so that a constant is right on one row only.
    first, *others = rule.columns
    return {first: a + offset, **{name: rng.randrange(30, 300) for name in others}}


def _attempt(rng: random.Random, rule: Rule, right: list[str], wrong: tuple[str, str], kind: Kind) -> Attempt:
    near, off = wrong
    names = " and ".join(rule.columns)
    told = f"It follows the rule for {names} as it is written."
    if kind == "good":
        return Attempt(1.0, (), {"expression": rng.choice(right), "explanation": told})
    if kind == "slip":
        if rng.random() < 0.5:
            return Attempt(0.85, (), {"expression": rng.choice(right), "explanation": "See above."})
        return Attempt(0.7, (), {"expression": near, "explanation": told})
    fault = rng.choice(("off", "off", "column", "both", "syntax"))
    if fault == "column":
        unknown = right[0].replace(rule.columns[0], f"{rule.columns[0]}_total")
        return Attempt(0.1, (), {"expression": unknown, "explanation": told})
    if fault == "syntax":
        return Attempt(0.1, (), {"expression": f"{right[0]})", "explanation": told})
    return Attempt(0.2, (), {"expression": off, "explanation": told if fault == "off" else "See above."})
