"""Which language an answer is in, told by its function words."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from strop.grade.components.messages import final_text, messages_of, text_of
from strop.grade.components.values import absent, answer_of, show, truth_of
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

_LISTS = {
    "de": "der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine ich du er "
    "sie es wir ihr ihre ihren ihrem ihrer mein meine ist sind war waren sein hat haben hatte wird "
    "werden wurde wurden kann können konnte muss bitte mit von vom zu zum zur auf für bei beim nach "
    "aus über unter im am um an in als wie wenn dass auch noch schon nur sehr mehr bis wo wann wer uns "
    "mich mir ihnen dieser diese dieses guten vielen dank gerne leider heute morgen hallo ja nein",
    "en": "the a an and or but not no i you he she it we they your my our their his her its is are was were "
    "be been has have had will would can could should do does did please with from to on for at by of "
    "in into out over under as how if that this these those there also only very more until where when "
    "who what which us me them thank thanks hello sorry here today tomorrow any all yes",
    "fr": "le la les un une des du de et ou mais ne pas non je tu il elle nous vous ils elles votre vos "
    "notre nos mon ma mes son sa ses est sont était été être avez avons ont a sera peut pouvez doit "
    "avec pour par sur dans chez en au aux ce cet cette ces que qui quoi où quand comme si plus très "
    "aussi merci bonjour veuillez y lui leur se qu on déjà encore aujourd hui demain afin oui",
    "es": "el la los las un una unos unas de del y o pero no yo tú él ella nosotros ustedes usted ellos su "
    "sus mi mis nuestro nuestra es son era fue ser está están ha han hay será puede puedo debe con "
    "para por en al a que quien donde cuando como si más muy también gracias hola favor se le les lo "
    "me nos este esta estos estas ese esa eso esto ya hoy mañana sin sobre hasta desde sí",
    "it": "il lo la i gli le un uno una di del della dei delle degli dal dalla e o ma non io tu lui lei noi "
    "voi loro suo sua suoi nostro nostra mio mia è sono era stato stata essere ha hanno abbiamo ho "
    "sarà può deve con per da in nel nella al alla alle sul sulla su che chi dove quando come se più "
    "molto anche grazie buongiorno ciao si ci mi vi questo questa questi quello già oggi domani ancora "
    "sì",
    "nl": "de het een en of maar niet geen ik jij je u hij zij ze wij we jullie uw onze ons mijn zijn haar "
    "is was waren ben bent heeft hebben had wordt worden werd kan kunnen moet zal zullen met van voor "
    "op aan bij naar uit over onder in te ten om als dat die dit deze er ook nog al alleen zeer meer "
    "tot waar wanneer wie wat hoe bedankt dank hallo graag vandaag morgen hier ja nee",
}
LANGUAGES = tuple(_LISTS)
_LEAST, _LEAD = 1.5, 0.75
_LONGEST = 20_000


def _weights() -> dict[str, dict[str, float]]:
    # A word that several languages share says less for each of them.
    shared: defaultdict[str, list[str]] = defaultdict(list)
    for language, words in _LISTS.items():
        for word in set(_words(words)):
            shared[word].append(language)
    return {word: dict.fromkeys(found, 1 / len(found)) for word, found in shared.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())


_WEIGHTS = _weights()


def language(
    field: str | None = None, *, expected: str | None = None, truth: str | None = None
) -> ScoreFunction:
    """Score 1 for a text in the expected language, 0 in another; full credit where it can't be told.

    expected: de, en, fr, es, it or nl (`de-AT` is de); truth: the ground truth's key that holds it;
    neither: the language of the last user message. field: of the answer; None for the final answer.
    Raises ValueError for a language of the ground truth that is none of these.
    """
    if expected is not None and truth is not None:
        raise ValueError("give expected=... or truth=..., not both")
    fixed = None if expected is None else _code(expected, "expected")

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = fixed
        if truth is not None:
            wanted = _code(truth_of(ground_truth, truth), f"the ground truth's {truth!r}")
        elif wanted is None:
            wanted = language_of(_asked(rollout))
        text = final_text(rollout) if field is None else answer_of(rollout, field)
        where = field or "the final answer"
        if text is None or (isinstance(text, str) and not text.strip()):
            return absent(where)
        if not isinstance(text, str):
            return Scored(0.0, f"{where} is {show(text)}, not a text")
        if wanted is None:
            return Scored(1.0, "the user's language can't be told; no language is expected")
        spoken = language_of(text)
        if spoken is None:
            return Scored(1.0, f"the language of {where} can't be told; it counts as {wanted}")
        return Scored(1.0) if spoken == wanted else Scored(0.0, f"{where} is in {spoken}, expected {wanted}")

    return score


def language_of(text: str) -> str | None:
    """Return the language whose function words a text holds, None where they are few or near a draw."""
    found = dict.fromkeys(LANGUAGES, 0.0)
    for word in _words(text[:_LONGEST]):
        for name, weight in _WEIGHTS.get(word, {}).items():
            found[name] += weight
    second, best = sorted(found, key=found.__getitem__)[-2:]
    if found[best] < _LEAST or found[best] - found[second] < _LEAD:
        return None
    return best


def _asked(rollout: JsonObject) -> str:
    asked = [m for m in messages_of(rollout) if m.get("role") == "user"]
    return text_of(asked[-1]) if asked else ""


def _code(value: Any, where: str) -> str:
    code = re.split(r"[-_]", value)[0].lower() if isinstance(value, str) else ""
    if code not in LANGUAGES:
        raise ValueError(f"{where} is {show(value)}; the languages known here are {', '.join(LANGUAGES)}")
    return code
