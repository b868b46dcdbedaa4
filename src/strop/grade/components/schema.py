"""Whether an answer is valid against a JSON schema."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from strop.grade.components.messages import final_text
from strop.grade.components.values import absent, answer_of, show
from strop.grade.extract import parse_answer
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject, canonical_json

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_NAMED = 3


def valid_json(schema: JsonObject | bool, field: str | None = None) -> ScoreFunction:
    """Score 1 where a field, or for None the whole final answer, is valid against a schema, else 0.

    JSON Schema in the dialect of its `$schema`, else 2020-12; `format` is not asserted (2020-12,
    7.2.1), and nothing is fetched for a `$ref`. Raises ValueError for a schema that is none.
    """
    text = canonical_json(schema)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        validator = _validator(text)
        where = field or "the final answer"
        if field is not None:
            value = answer_of(rollout, field)
        else:
            final = final_text(rollout)
            value = None if final is None else parse_answer(final)[0]
            if final is not None and value is None:
                return Scored(0.0, f"{where} is no single valid JSON object: {show(final)}")
        if value is None:
            return absent(where)
        said = _objections(validator, value)
        return Scored(0.0, f"{where}: {said}") if said else Scored(1.0)

    return score


def _objections(validator: Validator, value: Any) -> str:
    from referencing.exceptions import Unresolvable

    parts: list[str] = []
    errors: Iterator[Any] = validator.iter_errors(value)
    try:
        for error in errors:
            place = ".".join(map(str, error.absolute_path))
            rule = f"{show(error.instance)} breaks {error.validator}: {show(error.validator_value)}"
            parts.append(f"{place}: {rule}" if place else rule)
            if len(parts) == _NAMED:
                break
    except Unresolvable as error:
        raise ValueError(f"the schema's $ref {error.ref!r} can't be resolved: put it into $defs") from error
    except (RecursionError, ValueError):
        # The validator prints what it refuses, and Python prints no integer of over 4,300 digits.
        parts.append("nests too deep or holds too large a number to be checked")
    return "; ".join(parts)


# A rubric is built afresh for every item it scores, so validators are kept by what their schema says.
@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Validator:
    import jsonschema
    import msgspec
    from jsonschema.validators import validator_for
    from referencing import Registry

    parsed = msgspec.json.decode(schema)
    kind: Any = validator_for(parsed, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(parsed)
    except jsonschema.SchemaError as error:
        raise ValueError(f"valid_json's schema is none: {error.message}") from None
    return kind(parsed, registry=Registry())
