"""Pulling: redacted before disk, resumable after kill -9, an empty source is an error."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strop.config import Config, load
from strop.errors import InputError
from strop.loop.landing import land, redaction_key
from strop.loop.pull import pull
from strop.records import Skipped
from strop.store import Database, open_database
from strop.store.traces import iter_records, skipped_counts, source_counts, traces_with_identity

TOML = '[[sources]]\nname = "chats"\nkind = "openai-chat"\npath = "chats/*.jsonl"\nmax_trace_mb = 1\n'


def line(n: int, **extra: Any) -> str:
    messages = [{"role": "user", "content": f"Paket {n:020d}? Erika Mustermann, erika{n}@example.de"}]
    messages.append({"role": "assistant", "content": "Guten Tag Frau Mustermann."})
    return json.dumps(
        {"messages": messages, "user_name": 1, "metadata": {"user_name": "Erika Mustermann"}, **extra}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "strop.toml").write_text(TOML)
    (tmp_path / "chats").mkdir()
    return tmp_path


@pytest.fixture
def config(folder: Path) -> Config:
    return load(folder, environ={})


@pytest.fixture
def db(config: Config) -> Iterator[Database]:
    database = open_database(config.store_url, "default")
    yield database
    database.close()


def test_nothing_personal_reaches_the_disk(folder: Path, config: Config, db: Database) -> None:
    (folder / "chats" / "a.jsonl").write_text("\n".join(line(n) for n in range(300)) + "\n{\n")
    report = pull(config, db)
    assert report["sources"]["chats"]["new"] == 300
    assert report["total"] == 300
    assert sum(report["skipped"].values()) == 1
    for file in config.state.rglob("*"):
        data = file.read_bytes()
        assert b"Mustermann" not in data
        assert b"@example" not in data
    assert any(f"{7:020d}".encode() in f.read_bytes() for f in config.state.rglob("*"))
    assert stat.S_IMODE((config.state / "redaction.key").stat().st_mode) == 0o600


def test_a_second_pull_finds_nothing_new_and_a_grown_file_is_continued(
    folder: Path, config: Config, db: Database
) -> None:
    file = folder / "chats" / "a.jsonl"
    file.write_text(line(1) + "\n" + line(2)[:30])
    assert pull(config, db)["total"] == 1
    assert pull(config, db)["total"] == 1
    file.write_text(line(1) + "\n" + line(2) + "\n" + line(3) + "\n")
    report = pull(config, db)
    assert (report["total"], report["sources"]["chats"]["read"]) == (3, 2)


CHILD = """
import sys, time
from pathlib import Path
from strop.config import load
from strop.loop.pull import pull
from strop.store import open_database

def progress(done, total, text):
    print(text, flush=True)
    time.sleep(60)

config = load(Path(sys.argv[1]), environ={})
pull(config, open_database(config.store_url, "default"), on_progress=progress)
"""


def test_kill_9_in_the_middle_loses_and_doubles_nothing(folder: Path, config: Config, db: Database) -> None:
    (folder / "chats" / "a.jsonl").write_text("\n".join(line(n) for n in range(450)) + "\n")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert b"200 traces" in child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert source_counts(db) == {"chats": 200}
    report = pull(config, db)
    assert (report["total"], report["sources"]["chats"]["read"]) == (450, 250)
    assert len({t.source_id for _, t in iter_records(db)}) == 450


def test_progress_ends_at_the_files_size(folder: Path, config: Config, db: Database) -> None:
    file = folder / "chats" / "a.jsonl"
    file.write_text("\n".join(line(n) for n in range(250)) + "\n")
    seen: list[tuple[int, int]] = []
    pull(config, db, on_progress=lambda done, total, _: seen.append((done, total)))
    assert len(seen) == 2
    assert seen[-1] == (file.stat().st_size, file.stat().st_size)


def test_a_trace_of_50_mb_is_skipped_and_counted(folder: Path, config: Config, db: Database) -> None:
    with (folder / "chats" / "a.jsonl").open("w") as file:
        file.write(line(1) + "\n" + "x" * (50 << 20) + "\n" + line(2) + "\n")
    report = pull(config, db)
    assert (report["total"], report["skipped"]) == (2, {"pull: the line is larger than 1 MB": 1})


def test_an_empty_source_is_an_error(folder: Path, config: Config, db: Database) -> None:
    (folder / "chats" / "a.jsonl").write_text("")
    with pytest.raises(InputError, match="there are no traces") as error:
        pull(config, db)
    assert error.value.exit_code == 2
    assert "chats" in error.value.where
    (folder / "chats" / "a.jsonl").unlink()
    with pytest.raises(InputError, match="there is no file"):
        pull(config, db)


def test_skipped_reasons_are_scrubbed(config: Config, db: Database) -> None:
    land(db, config, [], [Skipped("pull", "x", "odd value erika@example.de")])
    assert skipped_counts(db) == {"pull: odd value <EMAIL_1>": 1}


def test_identities_can_be_found_for_deletion(folder: Path, config: Config, db: Database) -> None:
    from strop.curate.redact import Redactor

    (folder / "chats" / "a.jsonl").write_text(line(1) + "\n" + line(2) + "\n")
    pull(config, db)
    redactor = Redactor(config.redact, redaction_key(config))
    assert len(traces_with_identity(db, redactor.identity_hmac("EMAIL", "erika2@example.de"))) == 1
    assert len(traces_with_identity(db, redactor.identity_hmac("PERSON", "Mustermann, Erika"))) == 2


def test_the_key_is_made_once_and_the_environment_wins(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert redaction_key(config) == redaction_key(config)
    assert len(redaction_key(config)) == 32
    monkeypatch.setenv("STROP_REDACTION_KEY", "secret")
    assert redaction_key(config) == b"secret"
