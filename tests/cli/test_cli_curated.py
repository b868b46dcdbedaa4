"""What `strop curate` prints of balance, near-duplicates and leakage."""

from __future__ import annotations

from pathlib import Path

import msgspec
from click.testing import CliRunner

from strop.cli import cli
from strop.records import Episode, Message, Trace

TOML = """
[[sources]]
name = "agent"
kind = "jsonl"
path = "traces.jsonl"
[curate]
weights = "n^0.5"
oversample = {failing = 2.0}
"""
QUESTION = "Nobody rang on Tuesday and there was no card in the letter box: where is the parcel of mine " * 3


def line(n: int) -> str:
    greeting, answer = ("Hello. ", "late") if n >= 58 else ("", f"answer {n} is {n * n} of {n**3}")
    asked = QUESTION if n >= 57 else f"q{n}"
    said = (Message("user", greeting + asked), Message("assistant", "late" if n == 57 else answer))
    trace = Trace(
        source="agent",
        source_id=f"t{n}",
        episodes=(Episode(said),),
        customer="big" if n % 2 else f"c{n % 20}",
        workflow_id=f"w{n}",
        started_at=n * 10**9,
        ended_at=n * 10**9 + 5,
        status="error" if n < 3 else "ok",
    )
    return msgspec.json.encode(trace).decode() + "\n"


def test_curate_says_what_it_did_in_a_few_lines(tmp_path: Path) -> None:
    (tmp_path / "strop.toml").write_text(TOML)
    (tmp_path / "traces.jsonl").write_text("".join(line(n) for n in range(60)))
    for arguments in (["pull"], ["curate", "--allow-small", "a test"]):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, [*arguments, "-C", str(tmp_path)])
        assert done.exit_code == 0, done.stderr
    shown = done.stdout
    assert "Near-duplicates (from 0.9 on): 2 dropped; 0 retries with other outcomes" in shown
    assert "Balance (customers weighted n^0.5): " in shown
    assert "of equal weight; failing x2 (" in shown
    assert "Loudest customer in training: big, " in shown
    assert "Near-duplicates across splits: none" in shown
    assert "People in two splits: none" in shown
