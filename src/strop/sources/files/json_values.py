"""JSON as files hold it: the values of a document one by one, and each of them decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

_CHUNK = 1 << 20
_RUN = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)  # up to a bracket
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_BETWEEN = re.compile(rb"(?:\xef\xbb\xbf)?[\s,]*")
_SCALAR = re.compile(rb'[^\s,\]\[{}"]*')
_HEX = rb"[0-9a-fA-F]{2}"
_ESCAPE = re.compile(  # a pair of surrogates, a half of one, or anything else behind a backslash
    rb"\\(?:u[dD][89abAB]%b\\u[dD][c-fC-F]%b|(?P<half>u[dD][89a-fA-F]%b)|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)


def decode_json(data: bytes) -> Any:
    """Decode one JSON value. Halves of surrogate pairs, as JavaScript leaves them where it cuts text,
    become U+FFFD. Raises msgspec.DecodeError, UnicodeDecodeError and RecursionError.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        sound = _ESCAPE.sub(lambda m: rb"\ufffd" if m["half"] else m[0], data)
        if sound == data:
            raise
        return msgspec.json.decode(sound)


def json_values(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield (offset, bytes) of each value: of the items where the document is a list, else of the values.

    A value larger than `limit` bytes is passed over and yielded as None. Only brackets and strings are
    looked at: what is between them is for the decoder to judge. Raises ValueError where a value does not
    end, or something stands where none can.
    """
    yield from _Scanner(stream, limit).values()


def is_json(data: bytes) -> bool:
    """Say whether some bytes are one JSON value, written to its end."""
    try:
        decode_json(data)
    except (msgspec.ValidationError, RecursionError):  # JSON, but too large or too deep to be read
        return True
    except (msgspec.DecodeError, ValueError):
        return False
    return True


class _Scanner:
    """A window on the stream: `start` of the value being read and `at`, where reading stands."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._window, self._offset = b"", 0
        self._start: int | None = None
        self._at = 0
        self._too_large = False

    def values(self) -> Iterator[tuple[int, bytes | None]]:
        in_list, empty = False, True
        while True:
            between = _BETWEEN.match(self._window, self._at)
            self._at = between.end() if between else self._at
            if self._at == len(self._window):
                if self._more():
                    continue
                if in_list or empty:
                    raise ValueError("the list does not end" if in_list else "the file is empty")
                return
            first = self._window[self._at : self._at + 1]
            empty = False
            if first == b"[" and not in_list:
                in_list = True
                self._at += 1
            elif first == b"]" and in_list:
                in_list = False
                self._at += 1
            else:
                self._start, self._too_large = self._at, False
                self._value(first)
                large = self._too_large or self._at - self._start > self._limit
                where = self._offset + self._start
                yield where, None if large else self._window[self._start : self._at]
                self._start = None

    def _value(self, first: bytes) -> None:
        if first in (b"{", b"["):
            self._container()
        elif first == b'"':
            self._at += 1
            self._string()
        else:
            self._scalar()

    def _container(self) -> None:
        depth = 0
        while True:
            run = _RUN.match(self._window, self._at)
            self._at = run.end() if run else self._at
            mark = self._window[self._at : self._at + 1]
            if not mark:
                self._need()
                continue
            self._at += 1
            if mark == b'"':  # a string whose end is not in the window
                self._string()
            elif mark in (b"{", b"["):
                depth += 1
            else:
                depth -= 1
                if depth == 0:
                    return

    def _string(self) -> None:
        while True:
            text = _STRING.match(self._window, self._at)
            self._at = text.end() if text else self._at
            if self._window[self._at : self._at + 1] == b'"':
                self._at += 1
                return
            self._need()

    def _scalar(self) -> None:
        while True:
            text = _SCALAR.match(self._window, self._at)
            self._at = text.end() if text else self._at
            if self._at < len(self._window) or not self._more():
                break
        if self._at == self._start:
            raise ValueError("there is no JSON value")

    def _need(self) -> None:
        if not self._more():
            raise ValueError("the last value does not end")

    def _more(self) -> bool:
        """Read on; what is in front of the value being read is let go, and a value that is too large."""
        if self._start is not None and self._at - self._start > self._limit:
            self._too_large = True
        keep = self._at if self._start is None or self._too_large else self._start
        chunk = self._stream.read(_CHUNK)
        if not chunk:
            return False
        self._window = self._window[keep:] + chunk
        self._offset += keep
        self._at -= keep
        if self._start is not None:
            self._start -= keep
        return True
