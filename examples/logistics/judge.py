"""The tone judge's offline default: written rules behind an OpenAI-compatible endpoint.

    python -m logistics.judge [--port 0]

The request is the one any judge model would get: the rubric as system message, the inquiry and the
answer as JSON in the user message, and a JSON schema for the verdict. An answer passes if

1. it opens with a greeting in the inquiry's language (`Guten Tag`, `Hello`, ...);
2. at least one full sentence follows: a capital, three words or more, and `.`, `!` or `?` at the end
   of each sentence;
3. it is in the inquiry's language, told by its function words (an inquiry in neither passes both);
4. it is not stuffed: at most 60 words, no sentence twice, no more than one status named as a fact.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import Any, Final

from logistics import endpoint
from logistics.inquiries import Language

MODEL: Final = "tone-rules"
MAX_WORDS: Final = 60
MIN_WORDS: Final = 3

GREETINGS: Final[dict[Language, tuple[str, ...]]] = {
    "de": ("guten tag", "hallo", "guten morgen", "guten abend", "sehr geehrte", "liebe", "moin", "grüß gott"),
    "en": ("hello", "hi", "dear", "good morning", "good afternoon", "good evening", "good day"),
}

_GERMAN: Final = (
    "der die das den dem ein eine einen ist sind war wurde wird werden hat haben und oder nicht noch "
    "schon bereits zu zum zur bei beim mit um von vom für auf am im an wir uns ich sie es ihr ihre "
    "ihrer ihren ihrem wo wann wie was bis gibt kommt bitte guten tag hallo danke gruß unterwegs "
    "zurück da etwas leider"
)
_ENGLISH: Final = (
    "the a an is are was were has have had been be will and or not yet already to of on in at with "
    "for from by we us our you your i it its there this that where when what how can hello hi thanks "
    "regards please back going get arrives way still"
)
_FUNCTION_WORDS: Final[dict[Language, frozenset[str]]] = {
    "de": frozenset(_GERMAN.split()),
    "en": frozenset(_ENGLISH.split()),
}

_FACTS: Final = {
    "delivered": r"\b(?:is|was|been) delivered\b|\b(?:wurde|ist) (?:\w+ )?zugestellt\b",
    "in_transit": r"\bon (?:its|the) way\b(?! back)|\bin transit\b|\bunterwegs\b",
    "delayed": r"\bdelay(?:ed)?\b|\bverspätet\b|\bverspätung\b|\bverzögert\b",
    "exception": r"\bproblem\b|\bexception\b",
    "returned": r"\breturned\b|\b(?:going|way) back\b|\bgeht (?:\w+ )?zurück\b",
    "unknown": r"\bunclear\b|\bunknown\b|\bunklar\b|\bunbekannt\b",
}


def language_of(text: str) -> Language | None:
    """Return the language with more function words in a text, None on a draw."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    german = sum(word in _FUNCTION_WORDS["de"] for word in words)
    english = sum(word in _FUNCTION_WORDS["en"] for word in words)
    if german == english:
        return None
    return "de" if german > english else "en"


def objection(inquiry: str, answer: str) -> str | None:
    """Return the first rule that an answer breaks, in words; None where it passes."""
    answer = answer.strip()
    asked, spoken = language_of(inquiry), language_of(answer)
    if asked is not None and spoken != asked:
        return "not in the inquiry's language"
    languages: list[Language] = [spoken] if spoken else ["de", "en"]
    greeting = _greeting(answer, languages)
    if greeting is None:
        return "no greeting"
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", answer[len(greeting) :].lstrip(" ,!.")) if s]
    if not sentences or answer[-1] not in ".!?" or any(len(s.split()) < MIN_WORDS for s in sentences):
        return "no full sentence after the greeting"
    if not answer[0].isupper() or any(not (s[0].isupper() or s is sentences[0]) for s in sentences):
        return "a sentence starts without a capital"
    if len(answer.split()) > MAX_WORDS:
        return f"over {MAX_WORDS} words"
    if len({s.lower() for s in sentences}) < len(sentences):
        return "a sentence is repeated"
    if sum(bool(re.search(pattern, answer.lower())) for pattern in _FACTS.values()) > 1:
        return "several statuses are named"
    return None


def _greeting(answer: str, languages: list[Language]) -> str | None:
    """Return the opening greeting with the name that follows it, up to its comma or mark."""
    for language in languages:
        for words in GREETINGS[language]:
            if found := re.match(rf"{words}\b[^,.!?]{{0,40}}[,.!]", answer, re.IGNORECASE):
                return found.group(0)
    return None


def respond(request: dict[str, Any]) -> endpoint.Reply:
    """Answer one judge request with {"verdict": "yes" | "no", "reason": ...}."""
    asked = json.loads(endpoint.asked(request))
    answer = asked["answer"]
    reason = "no text" if not isinstance(answer, str) or not answer.strip() else None
    reason = reason or objection(str(asked["inquiry"]), str(answer))
    verdict = {
        "verdict": "no" if reason else "yes",
        "reason": reason or "greeting, full sentences, right language",
    }
    content = json.dumps(verdict, ensure_ascii=False)
    tokens = endpoint.count_tokens
    return endpoint.Reply(
        {"role": "assistant", "content": content},
        "stop",
        tokens(json.dumps(request["messages"])),
        tokens(content),
        {},
    )


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="logistics.judge")
    parser.add_argument("--port", type=int, default=0)
    endpoint.run(respond, MODEL, parser.parse_args().port)


if __name__ == "__main__":
    main()
