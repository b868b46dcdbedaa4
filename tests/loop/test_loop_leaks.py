"""All that is stored is searched: every file below the folder, and the traces."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Generator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.config import Config
from strop.errors import InputError
from strop.loop.leaks import leak_check, search
from strop.records import Episode, Message, Trace
from strop.store import Database, open_database
from strop.store.traces import add_traces

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


@pytest.mark.parametrize("chunk", [1, 16, 300])
def test_a_text_across_chunks_is_found_and_its_bounds_are_seen(tmp_path: Path, chunk: int) -> None:
    for offset in range(0, 40, 3):
        body = b"." * offset + b"erika@example.de" + b"." * (offset * 40)
        (tmp_path / "file").write_bytes(body + b" Fidaho")
        found = search(tmp_path, ["erika@example.de", "Ida"], chunk)
        assert list(found.texts) == ["erika@example.de"], offset
        assert found.bytes == len(body) + 7


def test_the_name_of_a_file_is_searched_too(tmp_path: Path) -> None:
    (tmp_path / "erika mueller.json").write_text("{}")
    assert list(search(tmp_path, ["Erika Müller"]).texts) == ["Erika Müller"]


def test_a_write_ahead_log_is_searched_too(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table t (x text)")
    connection.execute("insert into t values (?)", [NAME])
    connection.commit()
    assert [p.name for p in search(tmp_path, [NAME]).texts[NAME]] == ["a.db-wal"]
    connection.close()


@settings(max_examples=25)
@given(st.text("ab ", max_size=60), st.integers(1, 9))
def test_it_agrees_with_looking_at_every_place(
    tmp_path_factory: pytest.TempPathFactory, body: str, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("search")
    (folder / "file").write_text(body)
    assert ("abab" in search(folder, ["abab"], chunk).texts) == ("abab" in body.split())


@contextlib.contextmanager
def opened(config: Config) -> Generator[Database]:
    db = open_database(config.store_url, "default")
    yield db
    db.close()


def stored(text: str) -> Trace:
    return Trace(
        source="s",
        source_id=str(len(text)),
        started_at=0,
        ended_at=1,
        episodes=(Episode(messages=(Message(role="user", content=text),)),),
    )


def test_stored_traces_are_searched_whole_and_the_report_repeats_no_name(tmp_path: Path) -> None:
    config = Config(root=tmp_path)
    known = tmp_path / "known.txt"
    known.write_text("\ufeffErika Müller\nAl\n\nOtto Sonstwer\nIda\nErika Müller\n", encoding="utf-8")
    with opened(config) as db:
        # Long texts lie in pieces in SQLite's file: wherever the pieces end, the name is found.
        add_traces(db, [stored("x " * (2000 + 2 * at) + "Müller, Erika") for at in range(40)])
        result = leak_check(config, db, known)
    (leak,) = result["leaks"]
    assert leak["line"] == 1
    assert len(leak["traces"]) == 40
    assert "strop.db" in " ".join(leak["files"])
    assert (result["searched"]["texts"], result["searched"]["too_short"]) == (3, 1)
    assert "Erika" not in json.dumps(result)


@pytest.mark.parametrize(("name", "why"), [("known.txt", "three letters"), ("nowhere.txt", "can't be read")])
def test_a_list_without_anything_to_look_for_is_refused(tmp_path: Path, name: str, why: str) -> None:
    config = Config(root=tmp_path)
    (tmp_path / "known.txt").write_text("Al\n")
    with opened(config) as db, pytest.raises(InputError, match=why):
        leak_check(config, db, tmp_path / name)
