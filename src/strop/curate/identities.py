"""Who is known to be in a trace: the values of identity fields, and every way they may be written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import msgspec

from strop.curate.recognise import EMAIL, PLACEHOLDER, digits
from strop.records import Trace
from strop.records.conversation import JsonObject

_CARRIERS = {
    "dhl",
    "ups",
    "dpd",
    "gls",
    "hermes",
    "fedex",
    "tnt",
    "amazon",
    "deutsche post",
    "royal mail",
    "usps",
}
_THINGS = frozenset(
    {
        "carrier",
        "product",
        "item",
        "tool",
        "function",
        "service",
        "depot",
        "hub",
        "warehouse",
        "city",
        "country",
    }
    | {"status", "event", "file", "model", "agent", "article", "location", "package"}
)
_NO_NAMES = frozenset(
    {"herr", "herrn", "frau", "familie", "mr", "mrs", "ms", "miss", "dr", "prof", "von", "van", "der", "den"}
    | {"und", "and", "the", "für", "gmbh", "mbh", "ltd", "inc", "llc", "corp", "company", "firma", "group"}
    | {"logistik", "logistics"}
)
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
_PHONE_LIKE = re.compile(r"\+?[\d ()/.\-]{6,24}")


class Known(msgspec.Struct, frozen=True):
    """One identity: kind PERSON, EMAIL or PHONE, and the key that all its spellings share."""

    kind: str
    key: str
    value: str


def normal(kind: str, value: str) -> str:
    """Return the form of a value that all its spellings share."""
    if kind in ("PHONE", "CARD"):
        return digits(value)[-9:] if kind == "PHONE" else digits(value)
    if kind == "PERSON":
        return " ".join(sorted(w.casefold() for w in _WORD.findall(value))) or value.casefold()
    return "".join(value.split()).casefold()


def is_identity(path: str, fields: Sequence[str]) -> bool:
    """Say whether a dotted key names a person's data: in full, or by its last part."""
    *parents, last = path.split(".")
    if last == "name" and parents and parents[-1].rstrip("s") in _THINGS:
        return False
    return path in fields or last in fields


def known_in(trace: Trace, fields: Sequence[str]) -> list[Known]:
    """Return the identities of a trace's own fields, its attributes, tool arguments and results."""
    found: list[Known] = []
    for field, value in trace.identities.items():
        found += classify(field, value)
    for path, value in leaves(trace.attributes, ""):
        if path.startswith(("user.", "user_", "enduser.")) or is_identity(path, fields):
            found += classify(path, value)
    for episode in trace.episodes:
        for message in episode.messages:
            texts = [c.arguments for c in message.tool_calls]
            if message.content is not None and message.content.lstrip()[:1] in ("{", "["):
                texts.append(message.content)
            for text in texts:
                for path, value in leaves(_json(text), ""):
                    if is_identity(path, fields):
                        found += classify(path, value)
    return list({(k.kind, k.key, k.value): k for k in found}.values())


def classify(field: str, value: str) -> list[Known]:
    """Say whose kind of data a value is; ids and placeholders are nobody's name."""
    value = " ".join(value.split())
    if not value or PLACEHOLDER.search(value):
        return []
    if EMAIL.fullmatch(value):
        return [Known("EMAIL", normal("EMAIL", value), value)]
    if _PHONE_LIKE.fullmatch(value) and len(digits(value)) >= 6:
        return [Known("PHONE", normal("PHONE", value), value)] if not field.endswith("id") else []
    if field.endswith(("id", "hash")) or "{" in value or len(value) > 120:
        return []
    words = _WORD.findall(value)
    has_digit = any(map(str.isdigit, value))
    if sum(map(len, words)) < 3 or (has_digit and len(words) < 2):
        return []
    if value.casefold() in _CARRIERS or (len(words) == 1 and value.isupper() and len(value) <= 4):
        return []
    return [Known("PERSON", normal("PERSON", value), value)]


def spellings(known: Known) -> Iterator[tuple[str, bool]]:
    """Yield (regular expression, case matters) for each way that an identity may be written."""
    if known.kind == "EMAIL":
        yield re.escape(known.value), False
    elif known.kind == "PHONE":
        for number in _phone_forms(known.value):
            yield r"\+?" + r"[ ()/.\-]{0,3}".join(number), False
    else:
        for value in dict.fromkeys((known.value, known.value.translate(_SPELLED))):
            words = [re.escape(w) for w in value.split()]
            yield r"[\s._\-]+".join(words), False
            escaped = json.dumps(value)[1:-1]
            if escaped != value:
                yield re.escape(escaped), False
        for part in name_parts(known.value):
            for form in dict.fromkeys((part, part.translate(_SPELLED), part.upper())):
                yield re.escape(form), True


def name_parts(value: str) -> list[str]:
    """Return the names inside a full name that identify on their own: capitalised, 3 letters and up."""
    head = re.split(r"\d", value, maxsplit=1)[0]
    parts: list[str] = []
    for word in _WORD.findall(head):
        for part in dict.fromkeys((word, *re.split(r"[-'’]", word))):
            if len(part) >= 3 and part[0].isupper() and part.casefold() not in _NO_NAMES:
                parts.append(part)
    return list(dict.fromkeys(parts))


def leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of all strings and numbers in a JSON value; list indices are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner, path)
    elif isinstance(value, str):
        nested = _json(value) if value.lstrip()[:1] in ("{", "[") else None
        yield from leaves(nested, path) if nested is not None else [(path, value)]
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path, str(value)


def _phone_forms(value: str) -> list[str]:
    number = digits(value)
    forms = [number]
    bare = number.removeprefix("00")
    if value.lstrip().startswith("+") or number.startswith("00"):
        forms += [bare, "00" + bare]
        forms += ["0" + bare[len(code) :] for code in ("49", "43", "41", "44") if bare.startswith(code)]
    elif number.startswith("0"):
        forms += [code + number[1:] for code in ("49", "43", "41", "44")]
    return sorted(dict.fromkeys(f for f in forms if len(f) >= 6), key=len, reverse=True)


def _json(text: str) -> JsonObject | list[object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None
