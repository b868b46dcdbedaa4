"""Who is known to be in a trace: the values of identity fields, and every way they may be written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple, cast

import msgspec

from strop.curate.recognise import BLANKS, DASHES, EMAIL, PLACEHOLDER, digits
from strop.records import Trace

CARRIERS = {
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
# As `folded` writes them.
_ADDRESS_KEYS = frozenset(
    {"address", "addressline", "addressline1", "line1", "street", "streetaddress", "streetname"}
    | {"shippingaddress", "billingaddress", "deliveryaddress", "homeaddress", "postaladdress"}
    | {"anschrift", "adresse", "strasse", "lieferadresse", "rechnungsadresse", "hausanschrift"}
)
_NO_NAMES = frozenset(
    {"herr", "herrn", "frau", "familie", "mr", "mrs", "ms", "miss", "dr", "prof", "von", "van", "der", "den"}
    | {"und", "and", "the", "für", "gmbh", "mbh", "ltd", "inc", "llc", "corp", "company", "firma", "group"}
    | {"logistik", "logistics"}
)
_BEGIN = frozenset("{[ \t\r\n")  # of a JSON object or array
_ALNUM = re.compile(r"[^\W_]+")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
_UMLAUTS = {"ae": "ä", "oe": "ö", "ue": "ü", "ss": "ß"}
_TWO_LETTERS = re.compile("ae|oe|ue|ss", re.IGNORECASE)
PHONE_LIKE = re.compile(rf"\+?[\d{BLANKS}()/.{DASHES}]{{6,24}}")


class Known(msgspec.Struct, frozen=True):
    """One identity: kind PERSON, ADDRESS, EMAIL or PHONE, and the key that all its spellings share.

    parts: whether a name's parts stand for it on their own.
    """

    kind: str
    key: str
    value: str
    parts: bool = True


class Spelling(NamedTuple):
    """One way to write an identity: a regular expression, whether case matters, and whose face it has."""

    pattern: str
    exact: bool
    plain: str


def normal(kind: str, value: str) -> str:
    """Return the form of a value that all its spellings share."""
    if kind in ("PHONE", "CARD"):
        return digits(value)[-9:] if kind == "PHONE" else digits(value)
    if kind == "PERSON":
        words = _WORD.findall(value.translate(SPELLED))
        return " ".join(sorted(w.casefold() for w in words)) or value.casefold()
    if kind == "ADDRESS":
        return face(value.translate(SPELLED))
    return "".join(value.split()).casefold()


def folded(key: str) -> str:
    """Return a key in the spelling in which fields are compared: shippingAddress is shipping_address."""
    return key.translate(SPELLED).casefold().replace("_", "").replace("-", "")


def is_identity(path: str, fields: Collection[str]) -> bool:
    """Say whether a dotted key names a person's data: in full, or by its last part. fields: folded.

    A line of an address that is an object counts too.
    """
    parents, _, last = (path := folded(path)).rpartition(".")
    parent = parents.rpartition(".")[2]
    line = last in _ADDRESS_KEYS and parent in fields and parent in _ADDRESS_KEYS
    if last not in fields and path not in fields and not line:
        return False
    thing = parent.rstrip("s") in _THINGS or parent.startswith(("function", "tool"))
    return not (thing and (last == "name" or last in _ADDRESS_KEYS))


def known_in(trace: Trace, fields: Collection[str], read: JsonTexts) -> list[Known]:
    """Return the identities of a trace's own fields, its attributes, tool arguments and results."""
    found: dict[Known, None] = {}
    personal: dict[str, bool] = {}  # by key: the same keys come again and again

    for field, value in trace.identities.items():
        found.update(dict.fromkeys(classify(field, value)))
    attributes: list[tuple[str, str]] = []
    read.collect(trace.attributes, "", attributes)
    for path, value in attributes:
        if path.startswith(("user.", "user_", "enduser.")) or is_identity(path, fields):
            found.update(dict.fromkeys(classify(path, value)))
    for episode in trace.episodes:
        for message in episode.messages:
            for text in (*(c.arguments for c in message.tool_calls), message.content or ""):
                for path, value in read.leaves(text) or ():
                    if path not in personal:
                        personal[path] = is_identity(path, fields)
                    if personal[path]:
                        found.update(dict.fromkeys(classify(path, value)))
    return list(found)


def classify(field: str, value: str) -> list[Known]:
    """Say whose kind of data a value is; ids and placeholders are nobody's name."""
    value = " ".join(value.split())
    if not value or PLACEHOLDER.search(value):
        return []
    if EMAIL.fullmatch(value):
        return [Known("EMAIL", normal("EMAIL", value), value)]
    if PHONE_LIKE.fullmatch(value) and len(digits(value)) >= 6:
        return [Known("PHONE", normal("PHONE", value), value)] if not field.endswith("id") else []
    if field.endswith(("id", "hash")) or "{" in value or len(value) > 120:
        return []
    words = _WORD.findall(value)
    if folded(field.rpartition(".")[2]) in _ADDRESS_KEYS:
        return [Known("ADDRESS", normal("ADDRESS", value), value)] if len(face(value)) >= 5 and words else []
    has_digit = any(map(str.isdigit, value))
    if sum(map(len, words)) < 3 or (has_digit and len(words) < 2):
        return []
    if value.casefold() in CARRIERS or (len(words) == 1 and value.isupper() and len(value) <= 4):
        return []
    return [Known("PERSON", normal("PERSON", value), value)]


def spellings(known: Known) -> Iterator[Spelling]:
    """Yield each way that a name, an address or an e-mail address may be written."""
    if known.kind == "EMAIL":
        yield Spelling(re.escape(known.value), False, known.value)
    elif known.kind == "ADDRESS":
        for form in _address_forms(known.value):
            yield Spelling(r"[\W_]{1,4}".join(map(re.escape, _ALNUM.findall(form))), False, form)
    else:
        written = known.value.translate(SPELLED)
        for value in dict.fromkeys((known.value, written, _with_umlauts(written))):
            words = [re.escape(w) for w in value.split()]
            yield Spelling(r"[\s._+\-]+".join(words), False, value)
            escaped = json.dumps(value)[1:-1]
            if escaped != value:
                yield Spelling(re.escape(escaped), False, escaped)
        for part in name_parts(known.value) if known.parts else ():
            written = part.translate(SPELLED)
            forms = dict.fromkeys((part, written, _with_umlauts(written)))
            for form in dict.fromkeys(cased for f in forms for cased in (f, f.upper(), f.title())):
                yield Spelling(re.escape(form), True, form)


def _with_umlauts(text: str) -> str:
    """Undo SPELLED: systems that know no umlauts say MUELLER, people say Müller."""
    return _TWO_LETTERS.sub(lambda m: _UMLAUTS[m.group().casefold()], text)


def face(text: str) -> str:
    """Return the letters and digits of a text, in lower case, with one blank for whatever is between."""
    return " ".join(_ALNUM.findall(text.casefold()))


def name_parts(value: str) -> list[str]:
    """Return the names inside a full name that identify on their own: capitalised, 3 letters and up."""
    head = re.split(r"\d", value, maxsplit=1)[0]
    parts: list[str] = []
    for word in _WORD.findall(head):
        for part in dict.fromkeys((word, *re.split(r"[-'’]", word))):
            if len(part) >= 3 and part[0].isupper() and part.casefold() not in _NO_NAMES:
                parts.append(part)
    return list(dict.fromkeys(parts))


class JsonTexts:
    """Texts that are JSON objects or arrays, each read once: tool results are long and looked at often."""

    def __init__(self) -> None:
        self._read: dict[str, list[tuple[str, str]] | None] = {}

    def leaves(self, text: str) -> list[tuple[str, str]] | None:
        """Return (dotted key, text) of all strings and numbers in a JSON text; None if it is something else.

        List indices are left out of keys, and a string that is itself JSON is looked into.
        """
        if text[:1] not in _BEGIN or text.lstrip()[:1] not in ("{", "["):
            return None
        if text not in self._read:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = None
            found: list[tuple[str, str]] = []
            if value is not None:
                self.collect(value, "", found)
            self._read[text] = None if value is None else found
        return self._read[text]

    def collect(self, value: object, path: str, found: list[tuple[str, str]]) -> None:
        """Add the leaves of a JSON value to `found`."""
        if isinstance(value, str):
            nested = self.leaves(value) if value[:1] in _BEGIN else None
            if nested is None:
                found.append((path, value))
            else:
                found += [(f"{path}.{inner}" if path and inner else path or inner, v) for inner, v in nested]
        elif isinstance(value, dict):
            for key, inner in cast("dict[str, object]", value).items():
                inner_path = f"{path}.{key}" if path else key
                if isinstance(inner, str) and inner[:1] not in _BEGIN:
                    found.append((inner_path, inner))
                else:
                    self.collect(inner, inner_path, found)
        elif isinstance(value, list | tuple):
            for inner in cast("list[object]", value):
                self.collect(inner, path, found)
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append((path, str(value)))


def phone_forms(value: str) -> list[str]:
    """Return the digits of a phone number as they may be dialled, the longest first."""
    number = digits(value)
    forms = [number]
    bare = number.removeprefix("00")
    if value.lstrip().startswith("+") or number.startswith("00"):
        forms += [bare, "00" + bare]
        forms += ["0" + bare[len(code) :] for code in ("49", "43", "41", "44") if bare.startswith(code)]
    elif number.startswith("0"):
        forms += [code + number[1:] for code in ("49", "43", "41", "44")]
    return sorted(dict.fromkeys(f for f in forms if len(f) >= 6), key=len, reverse=True)


def national_number(value: str) -> str:
    """Return the digits of a phone number, at most nine, that all ways to write it share."""
    number = digits(value.replace("(0)", ""))
    if value.lstrip().startswith("+") or number.startswith("00"):
        number = number.removeprefix("00")
        code = next((code for code in ("49", "43", "41", "44") if number.startswith(code)), "")
        return number[len(code) :][-9:]
    return number.removeprefix("0")[-9:]


def _address_forms(value: str) -> list[str]:
    """The whole address, and those of its lines that say where somebody lives without the others."""
    lines = [line.strip() for line in re.split(r"[,;\n]", value)]
    telling = [
        line for line in lines if len(line) >= 8 and _WORD.search(line) and any(map(str.isdigit, line))
    ]
    forms = [form for line in (value, *telling) for form in (line, line.translate(SPELLED))]
    return [form for form in dict.fromkeys(forms) if len(face(form)) >= 5]
