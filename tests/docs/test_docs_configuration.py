"""docs/configuration.md names every key of strop.toml with its default, and no other."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from documents import ROOT, blocks
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strop.config import Config, load
from strop.grade.load import load_grader

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `([^`]+)` \| (not set|required|`[^`]+`) \| (.+) \|$", re.MULTILINE)


def sections() -> dict[str, type[BaseModel]]:
    """Return the tables of strop.toml as the page heads them, with their models."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in Config.model_fields.items():
        if name == "root":
            continue
        models = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        model = next(t for t in models if issubclass(t, BaseModel))
        heading = {"sources": "[[sources]]", "judges": "[judges.NAME]"}.get(name, f"[{name}]")
        found[heading] = model
    return found


def documented(heading: str) -> dict[str, tuple[str, str]]:
    """Return {key: (default, meaning)} of one table's section."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {key: (default, meaning) for key, default, meaning in _ROW.findall(section)}


def shown(field: FieldInfo) -> str:
    """Return a default as the page writes it."""
    if field.is_required():
        return "required"
    value: Any = field.default
    if isinstance(value, tuple):
        value = list(value)
    return "not set" if value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize("heading", sections())
def test_every_key_is_documented_with_its_default(heading: str) -> None:
    expected = {key: shown(field) for key, field in sections()[heading].model_fields.items()}
    assert {key: default for key, (default, _) in documented(heading).items()} == expected


@pytest.mark.parametrize("heading", sections())
def test_every_key_has_a_meaning(heading: str) -> None:
    assert all(meaning.rstrip().endswith((".", "`.", ")")) for _, meaning in documented(heading).values())


def test_no_section_is_invented() -> None:
    headings = set(re.findall(r"^## (\[.+\])$", PAGE, re.MULTILINE))
    assert headings == set(sections())


def test_every_kind_of_source_is_explained() -> None:
    annotation = sections()["[[sources]]"].model_fields["kind"].annotation
    assert set(re.findall(r"`([\w-]+)`:", documented("[[sources]]")["kind"][1])) == set(get_args(annotation))


def test_the_readmes_strop_toml_loads(tmp_path: Any) -> None:
    (example,) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "toml")
    (tmp_path / "strop.toml").write_text(example, encoding="utf-8")
    config = load(tmp_path, environ={})
    assert config.grade.extract and config.labels.sql and config.promote.approval
    assert len(example.splitlines()) <= 30


def test_the_readmes_grader_is_one_whose_components_are_read(tmp_path: Any) -> None:
    (example,) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "grader.py").write_text(example, encoding="utf-8")
    assert load_grader(tmp_path / "grader.py").weights == {"answer_ok": 0.75, "tool_ok": 0.25}
