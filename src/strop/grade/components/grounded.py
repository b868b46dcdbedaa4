"""Whether the ids and numbers of an answer were seen before: in a tool's result or the user's words."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Any, TypeAlias

from strop.grade.components.messages import decoded, final_text, messages_of, text_of
from strop.grade.components.values import absent, answer_of, show
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

# Letters and digits, joined by single marks inside: HAT-136, 1.234,56, 2024-05-20, 06:00, card_7447.
_TOKEN = re.compile(r"[^\W_]+(?:(?:[-_.,:/]|['’](?=[0-9]))[^\W_]+)*")
# Digits in groups, as tracking numbers are written: 0034 0434 1612.
_GROUPS = re.compile(r"(?<![\w.,:/-])[0-9]{2,}(?: [0-9]{2,})+(?![\w:/-])")
_LIST_MARK = re.compile(r"^[ \t]*[0-9]{1,2}[.)](?=\s)", re.MULTILINE)
_NUMBER = re.compile(r"[0-9]+(?:[.,'’][0-9]+)*", re.ASCII)
_DATE = re.compile(r"([0-9]{1,4})([-./])([0-9]{1,2})(?:\2([0-9]{1,4}))?")
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2})(?::[0-9]{2})?)?([ap]m)?")
_HALF_DAY = re.compile(r"(?<=[0-9]) ?([ap])\.?m\b", re.IGNORECASE)
_STAMP = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2})")
_ORDINAL = re.compile(r"(?<=[0-9])(?:st|nd|rd|th)\b", re.IGNORECASE)
_DIGIT, _PART = re.compile(r"\d"), re.compile(r"[^\W_]+")
_LONGEST = 64
_LAST_DAY = 31
_NAMED = 5

Form: TypeAlias = "str | Decimal | tuple[str, tuple[int, ...]]"


def grounded(field: str | None = None, *, digits: int = 2, system: bool = False) -> ScoreFunction:
    """Score the share of ids and numbers in a text that occur in a tool result or a user's message.

    An id or number is a word with a digit in it; bare numbers of fewer than `digits` digits and list
    marks ("1.") are left out. Compared without case and separators, numbers by value (1,234.50 is
    1234.5), dates by their parts in any order (20.05. is in 2024-05-20), times on both clocks. What the
    agent computes itself is not grounded.
    field: of the answer (text, or any JSON whose leaves are read); None for the final answer.
    system: the system's messages count as sources, too. 1 for a text without ids and numbers.
    """
    roles = {"tool", "user", "system", "developer"} if system else {"tool", "user"}

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        value = final_text(rollout) if field is None else answer_of(rollout, field)
        where = field or "the final answer"
        if value is None or value == "":
            return absent(where)
        text = _plain("\n".join(_leaves(value)))
        if not _DIGIT.search(text):
            return Scored(1.0)
        known: set[Form] = set()
        for message in messages_of(rollout):
            if message.get("role") in roles:
                known |= _known(text_of(message))
        said = _claims(text, digits, known)
        unknown = [token for token in said if known.isdisjoint(_forms(token))]
        if not unknown:
            return Scored(1.0)
        named = ", ".join(show(token) for token in dict.fromkeys(unknown[:_NAMED]))
        return Scored(1 - len(unknown) / len(said), f"{where} names what no tool or user said: {named}")

    return score


def _claims(text: str, digits: int, known: set[Form]) -> list[str]:
    # The ids and numbers of an answer. Groups of digits are one id where that id is known.
    def joined(match: re.Match[str]) -> str:
        together = match[0].replace(" ", "")
        return together if together in known else match[0]

    tokens = _TOKEN.findall(_GROUPS.sub(joined, _LIST_MARK.sub(" ", text)))
    return [t for t in tokens if (n := sum(c.isdigit() for c in t)) and (n >= digits or not t.isdigit())]


def _known(text: str) -> set[Form]:
    # Every form of every id and number of a source, and of the parts that they are made of.
    if text.lstrip().startswith(("{", "[")):
        text = "\n".join(_leaves(decoded(text), keys=True)) or text
    text = _plain(text)
    known: set[Form] = {group.replace(" ", "") for group in _GROUPS.findall(text)}
    for token in set(_TOKEN.findall(text)):
        if not _DIGIT.search(token):
            continue
        known |= _forms(token)
        if date := _DATE.fullmatch(token):
            parts = [int(part) for part in date.group(1, 3, 4) if part is not None]
            known.add(("date", tuple(sorted(part for part in parts if part <= _LAST_DAY))))
        if time := _time(token):
            known.add(("clock", (time[0] % 12, time[1])))
        for part in _PART.findall(token):
            known |= _numbers(part) if part.isdigit() else {part.casefold()}
    return known


def _forms(token: str) -> set[Form]:
    # What a token stands for; two tokens say the same where these meet.
    forms: set[Form] = set()
    if not re.search(r"[.,'’:/]", token) or not _NUMBER.fullmatch(re.sub(r"[-_:/]", "", token)):
        forms.add(re.sub(r"[\W_]", "", token).casefold())
    if len(token) > _LONGEST:
        return forms
    forms |= _numbers(token)
    if date := _DATE.fullmatch(token):
        parts = [int(part) for part in date.group(1, 3, 4) if part is not None]
        forms.add(("date", tuple(sorted(parts))))
    elif time := _time(token):
        forms.add(("time", time))
        if time[0] <= 12 and not token.endswith("m"):
            forms.add(("clock", (time[0] % 12, time[1])))
    return forms


def _time(token: str) -> tuple[int, int] | None:
    match = _TIME.fullmatch(token)
    if match is None or not (match[2] or match[3]):
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    return (hour if match[3] is None else hour % 12 + 12 * (match[3] == "pm")), minute


def _numbers(token: str) -> set[Form]:
    # All readings: which separator is the decimal mark can't be told, and need not be here.
    # Leading zeros make an id, not a number.
    if len(token) > _LONGEST or not _NUMBER.fullmatch(token) or re.match("0[0-9]{2}", token):
        return set()
    readings: set[Form] = set()
    whole, mark, fraction = token.rpartition("." if token.rfind(".") > token.rfind(",") else ",")
    if mark and fraction.isdigit():
        readings.add(Decimal(f"{re.sub('[^0-9]', '', whole)}.{fraction}"))
    if all(len(group) == 3 for group in re.split("[.,'’]", token)[1:]):
        readings.add(Decimal(re.sub("[^0-9]", "", token)))
    return readings


def _plain(text: str) -> str:
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    text = _STAMP.sub(r"\1 \2", text)
    return _ORDINAL.sub("", _HALF_DAY.sub(lambda m: f"{m[1].lower()}m", text))


def _leaves(value: Any, *, keys: bool = False) -> list[str]:
    texts: list[str] = []
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            texts.append(one)
        elif isinstance(one, dict):
            stack += one.values()
            if keys:
                stack += one.keys()
        elif isinstance(one, list):
            stack += one
        elif isinstance(one, int | float) and not isinstance(one, bool):
            texts.append(f"{one}" if isinstance(one, float) or abs(one) < 10**_LONGEST else show(one))
    return texts
