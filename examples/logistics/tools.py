"""What the agent is told and offered: the system prompt and two tools over the company's database."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from logistics import database
from logistics.carriers import STATUSES

SYSTEM_PROMPT: Final = (
    "You answer shipment inquiries. Call lookup_tracking, then lookup_eta, then reply with JSON: "
    f"evidence (the last event that says how it stands), final_status ({', '.join(STATUSES)}), eta, "
    "message (greeting and full sentences in the customer's language)."
)

_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"tracking": {"type": "string"}},
    "required": ["tracking"],
}

TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {"name": "lookup_tracking", "description": "Carrier events", "parameters": _PARAMETERS},
    },
    {
        "type": "function",
        "function": {"name": "lookup_eta", "description": "Expected arrival", "parameters": _PARAMETERS},
    },
]


class Desk:
    """The tools, reading the database as of a simulated moment. Safe for several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._connections = threading.local()
        self._engine = engine
        self._open: list[sa.Connection] = []

    def close(self) -> None:
        """Close all threads' connections."""
        for connection in self._open:
            connection.close()

    def call(self, name: str, arguments: str, now: float) -> str:
        """Run one tool call and return its result as compact JSON.

        now: seconds since 1970. A wrong call comes back as {"error": ...}, for the model to read.
        """
        try:
            parsed: Any = json.loads(arguments)
        except ValueError:
            parsed = None
        tracking: Any = parsed.get("tracking") if isinstance(parsed, dict) else None  # pyright: ignore[reportUnknownMemberType]
        if not isinstance(tracking, str):
            return _compact({"error": "tracking must be a string"})
        if name == "lookup_tracking":
            return self._tracking(tracking, now)
        if name == "lookup_eta":
            return self._eta(tracking, now)
        return _compact({"error": f"no such tool: {name}"})

    def _tracking(self, tracking: str, now: float) -> str:
        s, e = database.shipments.c, database.events.c
        shipment = self._rows(sa.select(s.carrier, s.recipient).where(s.tracking == tracking))
        if not shipment:
            return _compact({"error": "unknown tracking number"})
        latest = (
            sa.select(e.at, e.city, e.text)
            .where(e.tracking == tracking, e.at <= now)
            .order_by(e.number.desc())
            .limit(database.EVENTS_SHOWN)
        )
        shown = [f"{_day(at)} {city}: {text}" for at, city, text in reversed(self._rows(latest))]
        carrier, recipient = shipment[0]
        return _compact({"carrier": carrier, "recipient": recipient, "events": shown})

    def _eta(self, tracking: str, now: float) -> str:
        t = database.etas.c
        newest = (
            sa.select(t.eta)
            .where(t.tracking == tracking, t.known_from <= now)
            .order_by(t.known_from.desc())
            .limit(1)
        )
        rows = self._rows(newest)
        return _compact({"eta": rows[0][0]} if rows else {"error": "unknown tracking number"})

    def _rows(self, query: sa.Executable) -> list[Any]:
        if not hasattr(self._connections, "open"):
            self._connections.open = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._open.append(self._connections.open)
        return list(self._connections.open.execute(query))


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d")


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
