"""Find people who are known, in any spelling, in many short texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from strop.curate.identities import Known, face, phone_forms, spellings
from strop.curate.recognise import BLANKS, DASHES

_PLAIN = re.compile(r"[a-z0-9]+")
_RUN = re.compile(rf"[0-9](?:[{BLANKS}()/.{DASHES}]{{0,3}}[0-9]){{5,}}")
Found = tuple[int, int, str, str]  # start, end, kind, key


class People:
    """Everyone known in a trace. One expression finds all spellings of names and addresses."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._owners: dict[str, tuple[str, str]] = {}
        self._phones: dict[str, str] = {}  # by digits, the longest first: the key
        forms: dict[tuple[bool, str], tuple[str, str]] = {}
        hints: dict[str, None] = {}
        for identity in sorted(known, key=lambda k: (-len(k.value), k.value)):
            if identity.kind == "PHONE":
                self._phones |= dict.fromkeys(phone_forms(identity.value), identity.key)
                continue
            for spelling in spellings(identity):
                owner = (identity.kind, identity.key)
                forms.setdefault((spelling.exact, spelling.pattern), owner)
                self._owners.setdefault(face(spelling.plain), owner)
                hints[max(_PLAIN.findall(spelling.plain.lower()), key=len, default="")] = None
        self._phones = dict(sorted(self._phones.items(), key=lambda item: (-len(item[0]), item[0])))
        # The longest run of plain letters of each spelling: a text with none of them is soon done with.
        self._hints = tuple(hints)
        any_case, exact = (
            "|".join(sorted((p for e, p in forms if e == wanted), key=lambda p: (-len(p), p)))
            for wanted in (False, True)
        )
        either = "|".join(part for part in (f"(?i:{any_case})" if any_case else "", exact) if part)
        expression = rf"(?<![^\W_])(?:{either})(?=(?:s|['’]s)?(?![^\W_]))"
        self._pattern = re.compile(expression) if forms else None
        self._forms = forms

    def find(self, text: str) -> list[Found]:
        """Return everyone known in a text. A name and a phone number may overlap."""
        found = list(self._numbers(text)) if self._phones else []
        if self._pattern is not None:
            low = text.lower()
            if any(hint in low for hint in self._hints):
                found += [(*m.span(), *self._owner(m.group())) for m in self._pattern.finditer(text)]
        return found

    def _owner(self, text: str) -> tuple[str, str]:
        """Return (kind, key) of a text that the expression matched.

        Its idea of case is wider than that of `face`: the dotless i of Turkish is an I, and so an i.
        """
        owner = self._owners.get(face(text))
        if owner is None:
            owner = next(
                owner for (_, p), owner in self._forms.items() if re.fullmatch(p, text, re.IGNORECASE)
            )
            self._owners[face(text)] = owner
        return owner

    def whole_number(self, number: str) -> tuple[str, str] | None:
        """Return (kind, key) of whom a bare number is the phone."""
        key = self._phones.get(number)
        return None if key is None else ("PHONE", key)

    def _numbers(self, text: str) -> Iterator[Found]:
        for m in _RUN.finditer(text):
            places = [i for i in range(m.start(), m.end()) if text[i].isdigit()]
            run = "".join(text[i] for i in places)
            done = 0
            for form, key in self._phones.items():
                at = run.find(form, done)
                if at < 0:
                    continue
                start, end = places[at], places[at + len(form) - 1] + 1
                if text[start - 1 : start].isalnum() or text[end : end + 1].isalnum():
                    continue
                done = at + len(form)
                yield start - (text[start - 1 : start] == "+"), end, "PHONE", key
