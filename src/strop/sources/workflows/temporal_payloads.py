"""Temporal's payloads -> JSON texts.

Specification: temporal.api.common.v1.Payload, {"metadata": {"encoding": base64}, "data": base64} in JSON.
What a codec encrypted is not read. The compressing codecs of the SDKs (zlib, gzip) pack a whole payload as
protobuf; they are unpacked up to a limit.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from typing import Any, cast

from strop.records import JsonObject
from strop.sources.workflows.runs import UNREADABLE, json_text

_LIMIT = 64 << 20  # bytes of one payload, unpacked
_JSON = ("json/plain", "json/protobuf")
_PACKED = ("binary/zlib", "binary/gzip")
_WRAPPED_DEEPEST = 3


def payload_texts(raw: Any, problems: list[str]) -> tuple[str, ...]:
    """Return payloads as JSON texts; what can't be read is told in `problems` and stands as a mark.

    raw: {"payloads": [...]}, or a bare list as the command line's short form writes it.
    """
    value: Any = cast(JsonObject, raw).get("payloads") if isinstance(raw, dict) else raw
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return tuple(payload_text(item, problems) for item in items)


def payload_text(raw: Any, problems: list[str]) -> str:
    """Return one payload as JSON text, or the mark of an unreadable one."""
    try:
        return _text(raw, 0)
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "a payload is malformed"
        problems.append(reason)
        return UNREADABLE


def _text(raw: Any, depth: int) -> str:
    metadata = cast(JsonObject, raw).get("metadata") if isinstance(raw, dict) else None
    encoding = _encoding(metadata)
    if encoding is None:
        return json.dumps(raw, ensure_ascii=False)  # the short form: the value itself
    return _decoded(encoding, _bytes(cast(JsonObject, raw).get("data")), depth)


def _decoded(encoding: str, data: bytes, depth: int) -> str:
    if encoding == "binary/null":
        return "null"
    if encoding in _JSON:
        return json_text(data)
    if encoding == "binary/plain":
        return json.dumps(base64.b64encode(data).decode())
    if encoding in _PACKED and depth < _WRAPPED_DEEPEST:
        inner, packed = _message(_unpacked(data))
        return _decoded(inner, packed, depth + 1)
    if "encrypt" in encoding:
        raise ValueError(f"a payload is encrypted: codec {encoding}")
    raise ValueError(f"a payload has an encoding that is not read: {encoding}")


def _encoding(metadata: Any) -> str | None:
    """Return a payload's encoding, as far as a name can be told; None where the value is no payload."""
    if not isinstance(metadata, dict):
        return None
    given = cast(JsonObject, metadata).get("encoding")
    if not isinstance(given, str):
        return None
    try:
        name = base64.b64decode(given, validate=True).decode()
    except ValueError:
        name = given
    return _name(name)


def _name(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9/_.+-]{1,60}", text) else "unknown"


def _bytes(data: Any) -> bytes:
    if data is None:
        return b""
    if not isinstance(data, str):
        raise ValueError("a payload is malformed")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a payload is no base64") from error


def _unpacked(data: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=47)  # zlib and gzip, told by the head
        out = unpacker.decompress(data, _LIMIT)
    except zlib.error as error:
        raise ValueError("a compressed payload is damaged") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"a compressed payload is larger than {_LIMIT >> 20} MB")
    if not unpacker.eof:
        raise ValueError("a compressed payload is cut off")
    return out


def _message(data: bytes) -> tuple[str, bytes]:
    """Read a protobuf Payload: metadata (1, a map of string to bytes) and data (2)."""
    encoding, body = "", b""
    for number, value in _fields(data):
        if number == 2:
            body = value
        elif number == 1:
            entry = dict(_fields(value))
            if entry.get(1) == b"encoding":
                encoding = _name(entry.get(2, b"").decode("utf-8", "replace"))
    if not encoding:
        raise ValueError("a compressed payload holds no payload")
    return encoding, body


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Return a protobuf message's length-delimited fields, in order. Raises ValueError."""
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a compressed payload is cut off")
            fields.append((tag >> 3, data[at : at + length]))
            at += length
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("a compressed payload holds no payload")
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
    raise ValueError("a compressed payload is cut off")
