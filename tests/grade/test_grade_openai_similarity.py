"""Expected values: rapidfuzz 3.14.6 fuzz.ratio, nltk 3.10.4 (sentence_bleu with auto_reweigh, sentence_gleu,
single_meteor_score with the original Porter stemmer and no synonyms) and rouge-score 0.1.2 F1, run once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.openai.meteor import stem
from strop.grade.openai.schema import Metric
from strop.grade.openai.similarity import MAX_CHARACTERS, NoEmbedding, TooLong, similarity

METRICS: tuple[Metric, ...] = get_args(Metric)
COUNTED = tuple(m for m in METRICS if m != "cosine")
ORDER: tuple[Metric, ...] = (
    "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
)  # fmt: skip
LIBRARIES = [
    (
        "fuzzy wuzzy was a bear",
        "fuzzy wuzzy had no hair",
        (0.755555555556, 0, 0.214285714286, 0.375, 0.4, 0.25, 0, 0, 0, 0.4),
    ),
    (
        "Your parcel was delivered today at 12:05.",
        "Your parcel was delivered yesterday at 9:30.",
        (0.870588235294, 0.434720871945, 0.5, 0.691428571429, 0.625, 0.428571428571, 0.333333333333, 0.2, 0,
         0.625),
    ),
    (
        "the cat sat on the mat",
        "on the mat sat the cat",
        (0.772727272727, 0, 0.555555555556, 0.5, 1, 0.6, 0.25, 0, 0, 0.5),
    ),
    (
        "the the the the the the the",
        "the cat is on the mat",
        (0.541666666667, 0, 0.0909090909091, 0.16393442623, 0.307692307692, 0, 0, 0, 0, 0.307692307692),
    ),
    (
        "It is a guide to action which ensures that the military always obeys the commands of the party",
        "It is a guide to action that ensures that the military will forever heed Party commands",
        (0.75138121547, 0.411803763569, 0.439393939394, 0.694444444444, 0.705882352941, 0.5, 0.4,
         0.285714285714, 0.153846153846, 0.647058823529),
    ),
    (
        "The deliveries are running late",
        "the delivery runs late",
        (0.716981132075, 0, 0.0714285714286, 0.914634146341, 0.444444444444, 0, 0, 0, 0, 0.444444444444),
    ),
    (
        "Die Sendung ist in München angekommen",
        "Die Sendung ist in Muenchen angekommen",
        (0.96, 0.537284965912, 0.611111111111, 0.806666666667, 0.769230769231, 0.545454545455,
         0.444444444444, 0.285714285714, 0, 0.769230769231),
    ),
    ("short", "short", (1, 1, 1, 0.5, 1, 0, 0, 0, 0, 1)),
    (
        "a b",
        "a b c d e f g h",
        (0.333333333333, 0.0497870683679, 0.115384615385, 0.253378378378, 0.4, 0.25, 0, 0, 0, 0.4),
    ),
    ("DELIVERED", "delivered", (0, 0, 0, 0.5, 1, 0, 0, 0, 0, 1)),
    (
        "one two three four five six seven",
        "one two three four five six seven eight",
        (0.916666666667, 0.86687789975, 0.846153846154, 0.884784293464, 0.933333333333, 0.923076923077,
         0.909090909091, 0.888888888889, 0.857142857143, 0.933333333333),
    ),
]  # fmt: skip
STEMS = {
    "caresses": "caress", "ponies": "poni", "ties": "ti", "caress": "caress", "cats": "cat", "feed": "feed",
    "agreed": "agre", "plastered": "plaster", "bled": "bled", "motoring": "motor", "sing": "sing",
    "conflated": "conflat", "troubled": "troubl", "sized": "size", "hopping": "hop", "tanned": "tan",
    "falling": "fall", "hissing": "hiss", "fizzed": "fizz", "failing": "fail", "filing": "file",
    "happy": "happi", "sky": "sky", "relational": "relat", "conditional": "condit", "rational": "ration",
    "valenci": "valenc", "hesitanci": "hesit", "digitizer": "digit", "conformabli": "conform",
    "radicalli": "radic", "differentli": "differ", "vileli": "vile", "analogousli": "analog",
    "vietnamization": "vietnam", "predication": "predic", "operator": "oper", "feudalism": "feudal",
    "decisiveness": "decis", "hopefulness": "hope", "callousness": "callous", "formaliti": "formal",
    "sensitiviti": "sensit", "sensibiliti": "sensibl", "triplicate": "triplic", "formative": "form",
    "formalize": "formal", "electriciti": "electr", "electrical": "electr", "hopeful": "hope",
    "goodness": "good", "revival": "reviv", "allowance": "allow", "inference": "infer", "airliner": "airlin",
    "gyroscopic": "gyroscop", "adjustable": "adjust", "defensible": "defens", "irritant": "irrit",
    "replacement": "replac", "adjustment": "adjust", "dependent": "depend", "adoption": "adopt",
    "homologou": "homolog", "communism": "commun", "activate": "activ", "angulariti": "angular",
    "homologous": "homolog", "effective": "effect", "bowdlerize": "bowdler", "probate": "probat",
    "rate": "rate", "cease": "ceas", "controll": "control", "roll": "roll", "yes": "ye", "toy": "toi",
}  # fmt: skip

VOCABULARY = ("the", "cat", "cats", "sat", "on", "mat", "Münze", "runs", "running", "12", "x")
words = st.lists(st.sampled_from(VOCABULARY), max_size=9)
texts = st.one_of(st.text(max_size=30), words.map(" ".join))


@pytest.mark.parametrize(("text", "reference", "expected"), LIBRARIES)
def test_metrics_agree_with_the_libraries(text: str, reference: str, expected: Sequence[float]) -> None:
    measured = [similarity(metric, text, reference) for metric in ORDER]
    assert measured == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(("word", "expected"), STEMS.items())
def test_stems_are_porters(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(texts, texts)
def test_every_metric_is_a_share(text: str, reference: str) -> None:
    for metric in COUNTED:
        assert 0.0 <= similarity(metric, text, reference) <= 1.0


@given(texts, texts)
def test_all_but_bleu_and_meteor_are_symmetric(text: str, reference: str) -> None:
    for metric in set(COUNTED) - {"bleu", "meteor"}:
        assert similarity(metric, text, reference) == similarity(metric, reference, text)


@given(st.lists(st.sampled_from("abcdefg"), min_size=5, max_size=12))
def test_a_text_is_like_itself(tokens: list[str]) -> None:
    text = " ".join(tokens)
    for metric in set(COUNTED) - {"meteor"}:
        assert similarity(metric, text, text) == pytest.approx(1.0)
    distinct = " ".join(f"w{i}" for i in range(len(tokens)))
    assert similarity("meteor", distinct, distinct) == pytest.approx(1 - 0.5 / len(tokens) ** 3)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_fuzzy_match_and_rouge_l_count_the_longest_common_subsequence(a: list[str], b: list[str]) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    expected = 2 * table[-1][-1] / (len(a) + len(b)) if a or b else None
    assert similarity("fuzzy_match", "".join(a), "".join(b)) == (1.0 if expected is None else expected)
    assert similarity("rouge_l", " ".join(a), " ".join(b)) == (expected or 0.0)


def test_texts_that_share_nothing_score_0() -> None:
    for metric in COUNTED:
        assert similarity(metric, "aaa bbb", "ccc") == (pytest.approx(0.0))


@pytest.mark.parametrize("metric", METRICS)
def test_long_texts_are_refused_and_not_cut(metric: Metric) -> None:
    with pytest.raises(TooLong, match="50,001 characters"):
        similarity(metric, "a" * (MAX_CHARACTERS + 1), "a")


def test_cosine_asks_for_two_embeddings() -> None:
    asked: list[Sequence[str]] = []

    def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        asked.append(texts)
        return [[3.0, 4.0], [4.0, 3.0]]

    assert similarity("cosine", "a", "b", embed) == pytest.approx(0.96)
    assert asked == [["a", "b"]]
    assert similarity("cosine", "a", "b", lambda _: [[1e-200, 0], [-1e-100, 0]]) == -1.0


def test_cosine_without_a_usable_answer_is_an_error() -> None:
    with pytest.raises(NoEmbedding, match="no embedding endpoint"):
        similarity("cosine", "a", "b")
    answers: list[Sequence[Sequence[float]]] = [
        [], [[1.0]], [[1.0], [1.0, 2.0]], [[0.0], [1.0]], [[float("nan")], [1.0]]
    ]  # fmt: skip
    for answer in answers:
        with pytest.raises(NoEmbedding):
            similarity("cosine", "a", "b", lambda _, answer=answer: answer)
