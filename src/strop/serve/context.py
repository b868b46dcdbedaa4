"""Which run, customer and workflow a call belongs to, as its headers and metadata say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import unquote

import msgspec

from strop.curate.identities import folded, is_identity

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_BAGGAGE_LIMIT = 8192  # the most that W3C asks anyone to carry


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call belongs. identities: people's values by field, for redaction only, never stored."""

    trace_id: str | None = None
    customer: str | None = None
    workflow_id: str | None = None
    session_id: str | None = None
    identities: dict[str, str] = {}
    problems: tuple[str, ...] = ()


def read_context(
    headers: Mapping[str, str],
    metadata: Mapping[str, str],
    *,
    customer_key: str = "customer.id",
    identity_fields: Collection[str] = (),
) -> CallContext:
    """Read `traceparent`, `x-strop-customer` and `x-strop-workflow`; then metadata; then W3C `baggage`.

    metadata: `customer`, `workflow` and `session`, or the span attributes' names. Of everything else
    only identities are kept, for redaction: a label that a caller sends along is not captured.
    Unusable values are named in `problems`, never an error.
    """
    carried = {**_baggage(headers.get("baggage", "")), **metadata}
    problems: list[str] = []

    def first(*candidates: tuple[str, str | None]) -> str | None:
        for name, value in candidates:
            if value and _PRINTABLE.fullmatch(value):
                return value
            if value:
                problems.append(f"{name} is not usable: control characters or over 256 characters")
        return None

    traceparent = headers.get("traceparent")
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match and match.group(1) == "00" and match.group(3):
        match = None
    if traceparent and not match:
        problems.append("traceparent is not valid")
    fields = frozenset(map(folded, identity_fields))
    return CallContext(
        trace_id=match.group(2) if match else None,
        customer=first(
            ("x-strop-customer", headers.get("x-strop-customer")),
            ("customer", metadata.get("customer")),
            (customer_key, carried.get(customer_key)),
        ),
        workflow_id=first(
            ("x-strop-workflow", headers.get("x-strop-workflow")),
            ("workflow", metadata.get("workflow")),
            ("workflow.id", carried.get("workflow.id")),
        ),
        session_id=first(
            ("session", metadata.get("session")),
            ("gen_ai.conversation.id", carried.get("gen_ai.conversation.id")),
        ),
        identities={k: v for k, v in carried.items() if is_identity(k, fields)},
        problems=tuple(problems),
    )


def _baggage(header: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for member in header[:_BAGGAGE_LIMIT].split(","):
        name, equals, value = member.partition(";")[0].partition("=")
        if equals:
            found[name.strip()] = unquote(value.strip())
    return found
