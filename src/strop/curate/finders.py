"""Who looks for names and addresses in sentences: strop's own model, or one that you bring.

`redact.names`: "builtin", "off", or the kind and the local path of a model: "spacy:path" (a pipeline saved
with `to_disk`), "presidio:path" (the YAML of an analyzer engine), "gliner:path" (a model's folder). Nothing
is downloaded; a library is imported only where it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from strop.curate import names
from strop.errors import ConfigError

Span = tuple[int, int, str]

# What other models call the two kinds. Whatever else they find is left to strop's own recognisers.
_KINDS = {
    "person": "PERSON",
    "per": "PERSON",
    "address": "ADDRESS",
    "street_address": "ADDRESS",
    "street address": "ADDRESS",
}
_GLINER_LABELS = ("person", "street address")


class Finder(Protocol):
    """Finds names and addresses."""

    def find(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        """Return (start, end, "PERSON" or "ADDRESS") of each text, in order and apart from each other."""
        ...


def finder(setting: str) -> Finder | None:
    """Return the finder that `redact.names` asks for. Raises ConfigError where it can't be had."""
    if setting == "builtin":
        return names.builtin()
    if setting == "off":
        return None
    kind, _, path = setting.partition(":")
    if kind not in _LOADERS or not path:
        raise ConfigError(
            f"redact.names: {setting!r} is not known",
            fix='use "builtin", "off", "spacy:<path>", "presidio:<path>" or "gliner:<path>"',
        )
    if not Path(path).exists():
        raise ConfigError(
            "redact.names: there is no such model", where=path, fix="give the local path of a model"
        )
    module, package, load = _LOADERS[kind]
    try:
        library = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"redact.names asks for {kind}, which can't be imported: {error}", fix=f"pip install {package}"
        ) from error
    try:
        return load(library, path)
    except Exception as error:  # whatever a library raises about a file that it can't use
        raise ConfigError(f"redact.names: {kind} can't load it: {error}", where=path) from error


class Spacy:
    """A spaCy pipeline: its entities PERSON or PER, and ADDRESS."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return the names and addresses of each text."""
        return [
            spans((e.start_char, e.end_char, e.label_, 1.0) for e in document.ents)
            for document in self._pipeline.pipe(texts)
        ]


class Presidio:
    """A Presidio analyzer engine, asked in each of its languages."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return the names and addresses of each text."""
        languages = list(self._engine.supported_languages)
        return [
            spans(
                (r.start, r.end, r.entity_type, r.score)
                for language in languages
                for r in self._engine.analyze(text=text, language=language)
            )
            for text in texts
        ]


class Gliner:
    """A GLiNER model, asked for people and street addresses."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return the names and addresses of each text."""
        return [
            spans(
                (e["start"], e["end"], e["label"], e["score"])
                for e in self._model.predict_entities(text, list(_GLINER_LABELS))
            )
            for text in texts
        ]


def spans(found: Any) -> list[Span]:
    """Return the spans of the two kinds, in order; of those that overlap, the surest and then the longest."""
    known = [
        (score, end - start, start, end, _KINDS[label.lower()])
        for start, end, label, score in found
        if label.lower() in _KINDS and start < end
    ]
    taken: list[Span] = []
    for _, _, start, end, kind in sorted(known, key=lambda k: (-k[0], -k[1], k[2])):
        if not any(start < e and s < end for s, e, _ in taken):
            taken.append((start, end, kind))
    return sorted(taken)


def _load_presidio(library: Any, path: str) -> Finder:
    return Presidio(library.AnalyzerEngineProvider(analyzer_engine_conf_file=path).create_engine())


_LOADERS: dict[str, tuple[str, str, Callable[[Any, str], Finder]]] = {
    "spacy": ("spacy", "spacy", lambda library, path: Spacy(library.load(path))),
    "presidio": ("presidio_analyzer", "presidio-analyzer", _load_presidio),
    "gliner": (
        "gliner",
        "gliner",
        lambda library, path: Gliner(library.GLiNER.from_pretrained(path, local_files_only=True)),
    ),
}
