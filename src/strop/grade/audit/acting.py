"""Which tools change the world, told by their names."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READS = _words(
    "get find lookup look search list read check fetch query view show calculate compute verify track "
    "describe count retrieve inspect validate think estimate"
)
_WRITES = _words(
    "create update cancel delete remove refund send issue book open submit close pay charge transfer "
    "escalate assign set add change modify exchange return reply post apply approve reject reship "
    "reorder place finish answer final respond record save write schedule notify grant revoke block "
    "complete conclude deliver emit report resolve publish mark flag reserve buy purchase sell move "
    "rename enable disable reset restart deploy merge commit push upload insert append put patch edit "
    "log register credit void waive release confirm dispatch reroute replace subscribe unsubscribe "
    "invite"
)
_HANDS_IN = _words("submit finish answer final respond report complete conclude deliver emit")
_SHOWN = _words("policy policies status detail details info history options rules log logs")


def is_write(name: str) -> bool:
    """Say whether a name sounds like an act: `issue_refund`, not `refund_lookup` or `return_policy`."""
    words = _name_words(name)
    if not words or words[0] in _READS:
        return False
    if words[-1] in _SHOWN:
        return words[0] in ("set", "update", "change", "add", "write", "edit", "mark")
    if words[-1] in ("lookup", "search", "get", "fetch") or not _WRITES.intersection(words):
        return False
    return words[0] in _WRITES or not _READS.intersection(words)


def _name_words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", name).lower())


def hands_in(name: str) -> bool:
    """Say whether a tool's name sounds like handing an answer in, which changes nothing in the world."""
    return bool(_HANDS_IN.intersection(_name_words(name)))
