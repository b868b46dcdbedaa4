"""Names and addresses in sentences: strop's own model, its recipe, and models that users bring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Redact, load
from strop.curate import names
from strop.curate.finders import Gliner, Presidio, Spacy, finder
from strop.curate.invent import Inventor, lexicon, wordings
from strop.curate.redact import Redactor
from strop.curate.train_names import Example, save, train, word_lists
from strop.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def found(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for start, end, kind in names.builtin().find([text])[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Guten Tag, mein Name ist Roswitha Knüppelhausen.", [("PERSON", "Roswitha Knüppelhausen")]),
        ("Sehr geehrte Frau Zwergenbichler,\nIhr Paket ist da.", [("PERSON", "Zwergenbichler")]),
        ("Mit freundlichen Grüßen\nOttfried Wankelmuth", [("PERSON", "Ottfried Wankelmuth")]),
        (
            "Bitte liefern an Zaubernussweg 12a, 12345 Berlin.",
            [("ADDRESS", "Zaubernussweg 12a, 12345 Berlin")],
        ),
        ("My name is Xandra Blomqvist, where is my parcel?", [("PERSON", "Xandra Blomqvist")]),
        ("Thanks,\nBartholomew Quiggley", [("PERSON", "Bartholomew Quiggley")]),
        ("Please send it to 221 Marigold Street, London.", [("ADDRESS", "221 Marigold Street, London")]),
        ("Die Sendung ist im Depot Hamburg eingetroffen.", []),
        ("Your order was shipped with DHL Express from Berlin to Munich.", []),
        ("Wie lange dauert die Rückerstattung der Versandkosten?", []),
        ("", []),
    ],
)
def test_the_model_finds_people_and_leaves_business_alone(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


TEXTS = st.one_of(st.text(max_size=60), st.integers(0, 10**6).map(lambda n: Inventor(n).text("de").text))


@given(st.lists(TEXTS, max_size=4))
def test_spans_are_in_order_and_texts_do_not_touch_each_other(texts: list[str]) -> None:
    together = names.builtin().find(texts)
    assert together == [names.builtin().find([t])[0] for t in texts]
    for text, spans in zip(texts, together, strict=True):
        ends = [0, *(end for _, end, _ in spans)]
        assert all(
            before <= start < end <= len(text) for before, (start, end, _) in zip(ends, spans, strict=False)
        )


@given(st.integers(0, 10**6))
def test_redacting_invented_texts_twice_changes_nothing_more(seed: int) -> None:
    redactor = Redactor(Redact(), b"k" * 32)
    for text in Inventor(seed).texts(2):
        once = redactor.scrub(text.text)
        assert redactor.scrub(once) == once


def test_invented_texts_are_the_same_again_and_their_spans_fit() -> None:
    first, second = ([*Inventor(5).texts(40)] for _ in range(2))
    assert first == second
    assert [*Inventor(6).texts(40)] != first
    for made in first:
        assert all(0 <= s.start < s.end <= len(made.text) for s in made.spans)
    assert {s.kind for made in first for s in made.spans} == {"PERSON", "ADDRESS", "PLACE", "FIRM"}
    assert min(len(wordings("de")), len(wordings("en"))) > 200
    assert len(lexicon()["first de"]) > 200


def test_the_recipe_gives_the_same_file_again_and_learns(tmp_path: Path) -> None:
    lists = word_lists()
    files: list[Path] = []
    for i in range(2):
        words, rng = names.Words(lists), np.random.default_rng(1)
        examples = [Example(made, words, rng) for made in Inventor(1).texts(240)]
        weights, moves = train(examples, epochs=2, seed=1)
        files.append(tmp_path / f"{i}.npz")
        save(files[-1], weights, moves, lists)
    assert files[0].read_bytes() == files[1].read_bytes()
    learned = names.load(files[0])
    right = total = 0
    for made in Inventor(2).texts(60):
        people = {(s.start, s.end) for s in made.spans if s.kind == "PERSON"}
        right += len(people & {(s, e) for s, e, kind in learned.find([made.text])[0] if kind == "PERSON"})
        total += len(people)
    assert right > total / 2


def test_the_model_is_small() -> None:
    assert names.MODEL.stat().st_size < 3_000_000


# Models that users bring.


def test_a_setting_that_is_not_known_names_those_that_are() -> None:
    assert finder("off") is None
    assert finder("builtin") is names.builtin()
    for setting in ("flair:x", "spacy:", "spacy"):
        with pytest.raises(ConfigError, match="not known") as error:
            finder(setting)
        assert "builtin" in error.value.fix
    with pytest.raises(ConfigError, match="no such model"):
        finder("spacy:nowhere/at/all")


@pytest.mark.parametrize(
    ("kind", "module", "package"),
    [
        ("spacy", "spacy", "spacy"),
        ("presidio", "presidio_analyzer", "presidio-analyzer"),
        ("gliner", "gliner", "gliner"),
    ],
)
def test_a_missing_library_names_its_pip_line(
    kind: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as error:
        finder(f"{kind}:{tmp_path}")
    assert error.value.fix == f"pip install {package}"


def test_a_models_path_is_taken_from_the_folder_of_strop_toml(tmp_path: Path) -> None:
    (tmp_path / "strop.toml").write_text('[redact]\nnames = "spacy:models/de"\n')
    config = load(tmp_path, environ={})
    assert config.redact.names == f"spacy:{tmp_path}/models/de"
    with pytest.raises(ConfigError, match="no such model"):
        finder(config.redact.names)
    assert load(tmp_path, overrides={"redact.names": "gliner:/a/b"}, environ={}).redact.names == "gliner:/a/b"
    assert load(tmp_path, overrides={"redact.names": "off"}, environ={}).redact.names == "off"


def test_a_model_that_a_library_refuses_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: str) -> None:
        raise OSError("E053: no config.cfg")

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))
    with pytest.raises(ConfigError, match=r"E053: no config\.cfg"):
        finder(f"spacy:{tmp_path}")


TEXT = "Ask Zork at 5 Gloom Rd"


def entity(start: int, end: int, label: str) -> Any:
    return SimpleNamespace(start_char=start, end_char=end, label_=label)


class Pipeline:
    def pipe(self, texts: list[str]) -> list[Any]:
        return [
            SimpleNamespace(ents=[entity(4, 8, "PER"), entity(12, 22, "ADDRESS"), entity(0, 3, "LOC")])
            for _ in texts
        ]


class Engine:
    supported_languages = ("de", "en")

    def analyze(self, *, text: str, language: str) -> list[Any]:
        wrong = SimpleNamespace(start=0, end=8, entity_type="PERSON", score=0.3)
        right = SimpleNamespace(start=4, end=8, entity_type="PERSON", score=0.8)
        street = SimpleNamespace(start=12, end=22, entity_type="STREET_ADDRESS", score=0.7)
        return [wrong, right] if language == "en" else [street]


class Model:
    def predict_entities(self, text: str, labels: list[str]) -> list[dict[str, Any]]:
        person, street = labels
        return [
            {"start": 12, "end": 22, "label": street, "score": 0.9},
            {"start": 4, "end": 8, "label": person, "score": 0.9},
        ]


@pytest.mark.parametrize("brought", [Spacy(Pipeline()), Presidio(Engine()), Gliner(Model())])
def test_each_model_gives_the_same_two_kinds(brought: Any) -> None:
    assert brought.find([TEXT]) == [[(4, 8, "PERSON"), (12, 22, "ADDRESS")]]
    redactor = Redactor(Redact(), b"k" * 32, names=brought)
    assert redactor.found(TEXT) == [(4, 8, "PERSON"), (12, 22, "ADDRESS")]


_SPACY = """
import sys, spacy
from strop.config import Redact, load
from strop.curate.finders import finder
from strop.curate.redact import Redactor
blank = spacy.blank("de")
blank.add_pipe("entity_ruler").add_patterns([{"label": "PER", "pattern": "Zork Blim"}])
blank.to_disk(sys.argv[1])
redactor = Redactor(Redact(), b"k" * 32, names=finder("spacy:" + sys.argv[1]))
print(redactor.scrub("Das Paket ist jetzt bei Zork Blim in Erfurt"))
"""


@pytest.mark.slow
def test_a_real_spacy_pipeline_from_disk(tmp_path: Path) -> None:
    interpreter = os.environ.get("STROP_SPACY")
    if not interpreter:
        pytest.skip("STROP_SPACY names no Python with spacy (make test-slow)")
    done = subprocess.run(
        [interpreter, "-c", _SPACY, str(tmp_path / "model")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Das Paket ist jetzt bei <PERSON_1> in Erfurt"
