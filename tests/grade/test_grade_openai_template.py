from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.openai.template import MissingVariable, Template, TemplateError, Variable, parse_template

CALL = {"id": "1", "type": "function", "function": {"name": "get_acceptors", "arguments": '{"smiles": "C"}'}}
SAMPLE: dict[str, Any] = {
    "output_text": "hello",
    "output_json": {"a": {"b": [1, 2.5, None]}, "due date": "x"},
    "output_tools": [CALL],
    "choices": [{"message": {"content": "hello"}}],
}
ITEM: dict[str, Any] = {
    "label": "hi",
    "n": 1.0,
    "yes": True,
    "list": [{"k": "v"}],
    "dash-ed": "d",
    "ünï": "u",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
keys = st.text(st.characters(exclude_characters="'\"{}"), max_size=8)
variables = st.builds(
    lambda n, first, rest: Variable(n, (first, *rest)),
    st.sampled_from(["item", "sample"]),
    keys,
    st.lists(keys | st.integers(0, 10**9 - 1), max_size=4),
)
texts = st.text(st.characters(exclude_characters="{}"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ item.label }}", "hi"),
        ("{{item.label}}", "hi"),
        ("a {{ item.label }} b {{sample.output_text}} c", "a hi b hello c"),
        ("{{sample.output_tools[0].function.name}}", "get_acceptors"),
        ("{{ sample.output_tools[0].function.arguments }}", '{"smiles": "C"}'),
        ('{"smiles": "{{item.label}}"}', '{"smiles": "hi"}'),
        ("{{ sample.choices[0].message.content }}", "hello"),
        ("{{ sample.output_json.a.b }}", "[1, 2.5, null]"),
        ("{{ sample.output_json.a.b[1] }}", "2.5"),
        ("{{ sample.output_json['due date'] }}", "x"),
        ('{{ item["list"][0].k }}', "v"),
        ("{{ item.n }}", "1.0"),
        ("{{ item.yes }}", "true"),
        ("{{ item.dash-ed }}{{ item.ünï }}", "du"),
        ("no variable } or { here", "no variable } or { here"),
        ("", ""),
    ],
)
def test_values_are_found_and_written(text: str, expected: str) -> None:
    assert parse_template(text).render(SAMPLE, ITEM) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{{ item.nope }}", "item.nope"),
        ("x {{ sample.output_tools[1].function.name }}", "sample.output_tools[1].function.name"),
        ("{{ sample.output_json.a.b.c }}", "sample.output_json.a.b.c"),
        ("{{ item.label[0] }}", "item.label[0]"),
        ("{{ item.label.upper }}", "item.label.upper"),
        ("{{ item.list.k }}", "item.list.k"),
        ("{{ item[''] }}", 'item[""]'),
        ("{{ sample.output_audio.transcript }}", "sample.output_audio.transcript"),
    ],
)
def test_a_missing_variable_is_an_error_with_its_name(text: str, name: str) -> None:
    with pytest.raises(MissingVariable) as caught:
        parse_template(text).render(SAMPLE, ITEM)
    assert str(caught.value.variable) == name and name in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ label }}", "{{ item }}", "{{ sample[0] }}", "{{}}", "{{ item. }}", "{{ item.a b }}",
        "{{ item.a[x] }}", "{{ item.a[-1] }}", "{{ other.a }}", "{{ item.a", "{{{{ item.a }}}}",
        "{{ item.a | upper }}", "{{ itemx.a }}", "{{ item.__class__() + 1 }}", "{{ item.a[0 }}",
        '{{ item["a] }}',
    ],
)  # fmt: skip
def test_what_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(text)


@given(st.lists(texts | variables, min_size=1, max_size=6))
def test_a_template_survives_being_written_and_read(parts: list[str | Variable]) -> None:
    joined: list[str | Variable] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    template = Template(tuple(joined))
    assert parse_template(str(template)) == template


@given(st.dictionaries(st.text(min_size=1, max_size=6), json_values), st.text(max_size=10))
def test_values_are_never_read_as_templates(item: dict[str, Any], secret: str) -> None:
    hostile = "{{ item.secret }} }} {{ sample.output_text }} {{"
    template = parse_template("<{{ sample.output_text }}|{{ item.hostile }}>")
    rendered = template.render({"output_text": hostile}, {**item, "secret": secret, "hostile": hostile})
    assert rendered == f"<{hostile}|{hostile}>"


@given(st.text(max_size=8), json_values)
def test_a_key_of_any_kind_is_reached_and_written_as_json(key: str, value: Any) -> None:
    if "'" in key and '"' in key:
        return
    template = Template((Variable("item", (key,)),))
    expected = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    assert template.render({}, {key: value}) == expected


def test_depth_and_length_cost_no_recursion_and_no_quadratic_time() -> None:
    started = time.process_time()
    path = ".a" * 100_000
    with pytest.raises(MissingVariable):
        parse_template("{{ item" + path + " }}").render({}, {"a": {"a": 1}})
    with pytest.raises(TemplateError, match="never closed"):
        parse_template("{{" * 500_000)
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_template("{{ item.deep }}").render({}, {"deep": nested})
    assert time.process_time() - started < 20
    while isinstance(nested, list):
        nested = nested.pop()
