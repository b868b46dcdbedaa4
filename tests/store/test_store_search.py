"""What is on the disk in any spelling is found, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.store import search as searching
from strop.store.search import search

NAME = "Jürgen Größmann"


@pytest.mark.parametrize(
    "written",
    [
        NAME.encode(),
        NAME.encode("utf-16-le"),
        json.dumps({"n": NAME}).encode(),
        json.dumps({"body": json.dumps({"n": NAME})}).encode(),
        f"user.name={quote(NAME)},x=1".encode(),
        b"\x00\xff" + NAME.encode() + b"\xfe",
    ],
)
def test_every_spelling_is_found(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "log"
    file.write_bytes(b"before " + written + b" after")
    found = search(tmp_path, [NAME, "Erika Mustermann"])
    assert found.texts == {NAME: [file]}
    assert (found.files, found.bytes) == (1, len(written) + 13)


def test_a_text_across_two_chunks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_CHUNK", 16)
    for offset in range(40):
        (tmp_path / "file").write_bytes(b"." * offset + b"erika@example.de" + b"." * 9)
        assert list(search(tmp_path, ["erika@example.de"]).texts) == ["erika@example.de"], offset


def test_a_write_ahead_log_is_searched_too(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table t (x text)")
    connection.execute("insert into t values (?)", [NAME])
    connection.commit()
    assert [p.name for p in search(tmp_path, [NAME]).texts[NAME]] == ["a.db-wal"]
    connection.close()


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer than 6 bytes"):
        search(tmp_path, ["Bob"])


@settings(max_examples=25)
@given(st.text("ab", min_size=6, max_size=9), st.text("ab", max_size=60))
def test_it_agrees_with_looking_at_every_place(
    tmp_path_factory: pytest.TempPathFactory, text: str, body: str
):
    folder = tmp_path_factory.mktemp("search")
    (folder / "file").write_text(body)
    assert (text in search(folder, [text]).texts) == (text in body)
