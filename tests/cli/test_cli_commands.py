"""The command line as a shell sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from strop.cli import COMMANDS, cli
from strop.cli.session import Session, command
from strop.cli.training import manual_run
from strop.loop.steps import TRAINED
from strop.records import Episode, Message, Trace


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from strop.cli import main; main()", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


def project(folder: Path, text: str = "") -> Path:
    (folder / "strop.toml").write_text(
        '[[sources]]\nname = "agent"\nkind = "jsonl"\npath = "traces.jsonl"\n' + text
    )
    return folder


def trace(number: int) -> Trace:
    messages = (Message("user", f"Where is parcel {number:020d}?"), Message("assistant", "On its way."))
    return Trace(
        source="agent",
        source_id=f"t{number}",
        episodes=(Episode(messages),),
        customer=f"c{number % 3}",
        workflow_id=f"w{number}",
        started_at=number * 10**9,
        ended_at=number * 10**9 + 5,
    )


def with_traces(folder: Path, n: int = 5) -> Path:
    lines = [msgspec.json.encode(trace(i)).decode() for i in range(n)]
    (project(folder) / "traces.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from strop.cli import cli; cli.main(['--help'], standalone_mode=False); "
        "bad = {'pydantic', 'rich', 'sqlalchemy', 'dbos', 'torch', 'numpy', 'fastapi'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shares_its_options(name: str) -> None:
    done = run(name, "--help")
    assert done.exit_code == 0, done.output
    assert all(option in done.output for option in ("--json", "--dir", "--set"))


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in ("init", "demo", "doctor")])
def test_without_a_strop_toml_each_command_says_so(name: str, tmp_path: Path) -> None:
    done = run(name, "-C", str(tmp_path))
    assert done.exit_code == 2
    assert "there is no strop.toml here" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shell_sees_the_exit_code(tmp_path: Path) -> None:
    done = shell("status", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no strop.toml here" in done.stderr
    assert shell("no-such-command", cwd=tmp_path).returncode == 2
    assert shell("--version", cwd=tmp_path).returncode == 0


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    project(tmp_path, "[train]\nsft_stps = 3\n")
    done = run("status", "--json", "-C", str(tmp_path))
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert (error["class"], error["what"]) == ("ConfigError", "unknown key: train.sft_stps")


@pytest.mark.parametrize("pair", ["train.sft_steps", "sft_steps=3"])
def test_a_bad_override_is_refused(pair: str, tmp_path: Path) -> None:
    done = run("status", "--set", pair, "-C", str(project(tmp_path)))
    assert done.exit_code == 2
    assert "section.key=value" in done.stderr


def test_overrides_reach_the_configuration(tmp_path: Path) -> None:
    project(tmp_path)
    session = Session(tmp_path, {"train.sft_steps": "5", "grade.extract": ["a", "b"]}, json=False)
    assert (session.config.train.sft_steps, session.config.grade.extract) == (5, ("a", "b"))


def test_init_writes_a_file_that_loads_and_keeps_an_existing_one(tmp_path: Path) -> None:
    assert run("init", "-C", str(tmp_path)).exit_code == 0
    assert run("status", "--json", "-C", str(tmp_path)).exit_code == 0
    again = run("init", "-C", str(tmp_path))
    assert again.exit_code == 2
    assert "already" in again.stderr


def test_pull_and_inspect_print_one_document(tmp_path: Path) -> None:
    with_traces(tmp_path)
    pulled = run("pull", "--json", "-C", str(tmp_path))
    assert json.loads(pulled.stdout)["total"] == 5
    shown: dict[str, Any] = json.loads(run("inspect", "t3", "--json", "-C", str(tmp_path)).stdout)
    assert shown["trace"]["workflow_id"] == "w3"
    page = run("inspect", shown["trace_hash"][:12], "-C", str(tmp_path))
    assert "On its way." in page.stdout
    assert run("inspect", "nothing", "-C", str(tmp_path)).exit_code == 2


def test_an_empty_source_is_a_message(tmp_path: Path) -> None:
    (project(tmp_path) / "traces.jsonl").write_text("")
    done = run("pull", "-C", str(tmp_path))
    assert done.exit_code == 2
    assert "there are no traces" in done.stderr


def test_too_few_rows_are_refused_unless_a_reason_is_given(tmp_path: Path) -> None:
    with_traces(tmp_path)
    run("pull", "-C", str(tmp_path))
    refused = run("curate", "-C", str(tmp_path))
    assert refused.exit_code == 2
    assert "--allow-small" in refused.stderr
    allowed = run("curate", "--allow-small", "a first look", "-C", str(tmp_path))
    assert allowed.exit_code == 0, allowed.stderr
    assert "a first look" in allowed.stdout


def test_a_run_that_fails_is_in_the_status(tmp_path: Path) -> None:
    with_traces(tmp_path)
    done = shell("run", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["class"] == "NotEnoughData"
    (status,) = json.loads(run("status", "--json", "-C", str(tmp_path)).stdout)["runs"]
    assert status["state"] == "failed"
    assert [(s["name"], s["error"] is None) for s in status["steps"]] == [("pull", True), ("curate", False)]


def test_steps_without_their_predecessor_name_it(tmp_path: Path) -> None:
    project(tmp_path)
    assert "strop train" in run("compare", "-C", str(tmp_path)).stderr
    assert "strop compare" in run("promote", "-C", str(tmp_path)).stderr
    assert run("rollback", "-C", str(tmp_path)).exit_code == 1
    assert "no run waits" in run("promote", "--approve", "yes", "-C", str(tmp_path)).stderr


@command("broken")
def broken(session: Session) -> None:
    raise ZeroDivisionError("seven over nothing")


def test_a_bug_is_one_message_and_its_traceback_a_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(broken, ["--json", "-C", str(tmp_path)])
    assert done.exit_code == 1
    assert "ZeroDivisionError: seven over nothing" in json.loads(done.stdout)["error"]["what"]
    assert "Traceback" not in done.stderr
    assert "Traceback" in (tmp_path / ".strop" / "error.log").read_text()


def test_a_training_that_was_stopped_keeps_its_folder(tmp_path: Path) -> None:
    config = Session(project(tmp_path), {}, json=False).config
    first = manual_run(config)
    assert manual_run(config) == first
    (first / TRAINED).write_text("{}")
    assert manual_run(config) != first


def test_the_demo_leaves_a_project_of_ones_own_alone(tmp_path: Path) -> None:
    project(tmp_path)
    done = run("demo", "-C", str(tmp_path))
    assert done.exit_code == 2
    assert "a strop.toml of its own" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["strop.toml"]
