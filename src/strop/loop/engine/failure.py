"""A StropError as JSON and back, so that a run that failed yesterday fails today in the same words."""

from __future__ import annotations

from strop import errors
from strop.errors import OutsideServiceError, StropError
from strop.loop.engine.protocol import Json

_CLASSES: dict[str, type[StropError]] = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, StropError)
}


def to_json(error: StropError) -> Json:
    """Return the error's words and its class, for a subclass the nearest of strop.errors."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _CLASSES)
    return {"class": name, "what": error.what, "where": error.where, "fix": error.fix}


def from_json(value: Json) -> StropError:
    """Return the error that `to_json` described; an unknown class becomes StropError itself."""
    kind = _CLASSES.get(str(value.get("class")), StropError)
    return kind(str(value.get("what", "")), where=str(value.get("where", "")), fix=str(value.get("fix", "")))


def retryable(error: StropError) -> bool:
    """Say whether the same step may succeed later with nothing changed.

    An outside service may be back, and a crash (a StropError of no particular class) is worth another
    try; a wrong configuration or an answer that is no needs something to change first.
    """
    return type(error) is StropError or isinstance(error, OutsideServiceError)
