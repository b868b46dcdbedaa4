"""OpenAI's graders as records, read with errors that name the place.

Fields: OpenAPI document 2.3.0, schemas GraderStringCheck to GraderMulti, with `pass_threshold` of the
Eval variants and Azure's `invalid_grade`. Where document and service differ, the service is followed:
`multi.graders` is a dictionary there (the document types it as one grader and shows a list; all three are
read, list and single grader under each grader's own name), and `name` may be missing from `python` and
`multi`, as in the guide's examples.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import msgspec

from strop.errors import ConfigError
from strop.grade.openai.formula import FormulaError, parse_formula
from strop.grade.openai.template import TemplateError, parse_template

MAX_SOURCE_BYTES = 256_000

Metric = Literal[
    "fuzzy_match", "bleu", "gleu", "meteor", "cosine",
    "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
]  # fmt: skip


class InputText(msgspec.Struct, frozen=True, tag_field="type", tag="input_text"):
    """A text block of a model grader's message; a template."""

    text: str


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    """A text block that a model wrote; a template."""

    text: str


class InputImage(msgspec.Struct, frozen=True, tag_field="type", tag="input_image", omit_defaults=True):
    """An image block; its address is a template."""

    image_url: str
    detail: str | None = None


class AudioData(msgspec.Struct, frozen=True):
    """Base64 audio; the data is a template."""

    data: str
    format: Literal["mp3", "wav"]


class InputAudio(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio"):
    """An audio block."""

    input_audio: AudioData


Block: TypeAlias = InputText | OutputText | InputImage | InputAudio


class InputMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message that a model grader sends; the content is a text, a block or a list of them."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | Block | list[str | Block]
    type: Literal["message"] | None = None


class SamplingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the grading model samples; the misspelt `max_completions_tokens` is OpenAI's."""

    seed: int | None = None
    top_p: float | None = None
    temperature: float | None = None
    max_completions_tokens: int | None = None
    reasoning_effort: str | None = None


class _Grader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    name: str


class StringCheck(_Grader, frozen=True, kw_only=True, tag_field="type", tag="string_check"):
    """Compare two texts: 1 or 0. `like` asks whether the input contains the reference."""

    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]
    pass_threshold: float | None = None


class TextSimilarity(_Grader, frozen=True, kw_only=True, tag_field="type", tag="text_similarity"):
    """How alike two texts are, by a named metric."""

    input: str
    reference: str
    evaluation_metric: Metric
    pass_threshold: float | None = None


class ScoreModel(_Grader, frozen=True, kw_only=True, tag_field="type", tag="score_model"):
    """A model writes a number within the range."""

    model: str
    input: list[InputMessage]
    range: tuple[float, float] | None = None
    sampling_params: SamplingParams | None = None
    pass_threshold: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the range, [0, 1] where none is given."""
        return self.range or (0.0, 1.0)


class LabelModel(_Grader, frozen=True, kw_only=True, tag_field="type", tag="label_model"):
    """A model picks a label: 1 for a passing label, else 0."""

    model: str
    input: list[InputMessage]
    labels: list[str]
    passing_labels: list[str]
    pass_threshold: float | None = None


class PythonGrader(_Grader, frozen=True, kw_only=True, tag_field="type", tag="python"):
    """Python source with `grade(sample, item)`."""

    name: str = msgspec.field(default_factory=lambda: "python")  # written even where it is the default
    source: str
    image_tag: str | None = None
    pass_threshold: float | None = None


Single: TypeAlias = StringCheck | TextSimilarity | ScoreModel | LabelModel | PythonGrader


class Multi(_Grader, frozen=True, kw_only=True, tag_field="type", tag="multi"):
    """Several graders under a formula. Azure's invalid_grade, undocumented, is read and not used."""

    name: str = msgspec.field(default_factory=lambda: "multi")
    graders: dict[str, Single]
    calculate_output: str
    invalid_grade: float | None = None
    pass_threshold: float | None = None


Grader: TypeAlias = Single | Multi


class _RawMulti(_Grader, frozen=True, kw_only=True, tag_field="type", tag="multi"):
    name: str = msgspec.field(default_factory=lambda: "multi")
    graders: Any
    calculate_output: str
    invalid_grade: float | None = None
    pass_threshold: float | None = None


def parse_grader(raw: object, where: str = "$") -> Grader:
    """Read a grader from decoded JSON.

    Checks what can be known before a run: fields and types, templates, the range, labels, Python source
    (under 256 kB, has a grade function of two arguments; it isn't run), the formula and its names.
    Raises ConfigError with what is wrong, where as a JSON path below `where`, and the next step.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError("a grader is a JSON object", where=where, fix='{"type": "string_check", ...}')
    given = cast("Mapping[str, Any]", raw)
    if given.get("type") == "multi":
        return _multi(given, where)
    grader = _convert(given, Single, where)
    _check(grader, where)
    return grader


def source_problem(source: str) -> str | None:
    """Say what keeps a source from being a python grader, None where nothing does; it isn't run."""
    size = len(source.encode("utf-8", "surrogatepass"))
    if size >= MAX_SOURCE_BYTES:
        return f"the source has {size:,} bytes; it must stay under {MAX_SOURCE_BYTES:,} (256 kB)"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        said = getattr(error, "msg", None) or str(error) or type(error).__name__
        return f"the source is not Python: {said}" + (f" (line {line})" if line else "")
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "grade"]
    if not functions and not _binds_grade(tree):
        return "the source has no function named grade"
    if functions:
        given = functions[-1].args
        takes = len(given.posonlyargs) + len(given.args)
        if not (takes - len(given.defaults) <= 2 <= takes or (given.vararg and takes <= 2)):
            return "grade must take two arguments: def grade(sample, item)"
    return None


def _binds_grade(tree: ast.Module) -> bool:
    for node in tree.body:
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        inside = {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef)}
        if "grade" in names or (not isinstance(node, ast.ClassDef) and "grade" in inside):
            return True
    return False


def _multi(raw: Mapping[str, Any], where: str) -> Multi:
    outer = _convert(raw, _RawMulti, where)
    graders: dict[str, Single] = {}
    for key, inner, place in _members(outer.graders, f"{where}.graders"):
        grader = parse_grader(inner, place)
        if isinstance(grader, Multi):
            raise ConfigError(
                "a multi grader can't contain another", where=place, fix="put its graders beside the others"
            )
        key = grader.name if key is None else key
        if key in graders:
            raise ConfigError(f"two graders are named {key!r}", where=place, fix="rename one of them")
        graders[key] = grader
    if not graders:
        raise ConfigError("a multi grader needs at least one grader", where=f"{where}.graders")
    _check_formula(outer.calculate_output, graders, f"{where}.calculate_output")
    return Multi(
        name=outer.name,
        graders=graders,
        calculate_output=outer.calculate_output,
        invalid_grade=outer.invalid_grade,
        pass_threshold=outer.pass_threshold,
    )


def _members(raw: object, where: str) -> list[tuple[str | None, object, str]]:
    # A grader's `type` is a text; a grader named "type" is an object.
    if isinstance(raw, Mapping):
        given = cast("Mapping[str, object]", raw)
        if isinstance(given.get("type"), str):
            return [(None, given, where)]
        return [(key, inner, f"{where}{_step(key)}") for key, inner in given.items()]
    if isinstance(raw, list):
        return [(None, inner, f"{where}[{i}]") for i, inner in enumerate(cast("list[object]", raw))]
    raise ConfigError(
        "graders is an object of graders by name", where=where, fix='"graders": {"tone": {"type": ...}}'
    )


def _check_formula(text: str, graders: Mapping[str, Single], where: str) -> None:
    try:
        formula = parse_formula(text)
    except FormulaError as error:
        raise ConfigError(f"the formula can't be read: {error}", where=where) from error
    unknown = sorted(formula.names - graders.keys())
    if unknown:
        raise ConfigError(
            f"the formula names {unknown[0]!r}, which is no grader here",
            where=where,
            fix=f"the keys of graders are {', '.join(graders)}",
        )


def _check(grader: Single, where: str) -> None:
    if isinstance(grader, StringCheck | TextSimilarity):
        _check_template(grader.input, f"{where}.input")
        _check_template(grader.reference, f"{where}.reference")
    elif isinstance(grader, PythonGrader):
        problem = source_problem(grader.source)
        if problem:
            raise ConfigError(problem, where=f"{where}.source")
    else:
        if not grader.input:
            raise ConfigError("a model grader needs a message", where=f"{where}.input")
        for i, message in enumerate(grader.input):
            for j, text in enumerate(texts_of(message)):
                _check_template(text, f"{where}.input[{i}].content" + (f"[{j}]" if j else ""))
    if isinstance(grader, ScoreModel):
        low, high = grader.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                "the range is two numbers, low before high", where=f"{where}.range", fix="[0, 1]"
            )
    if isinstance(grader, LabelModel):
        stray = [label for label in grader.passing_labels if label not in grader.labels]
        if stray or not grader.labels or len(set(grader.labels)) < len(grader.labels):
            what = f"passing label {stray[0]!r} is none of the labels" if stray else "labels must be distinct"
            raise ConfigError(what, where=f"{where}.{'passing_labels' if stray else 'labels'}")


def texts_of(message: InputMessage) -> list[str]:
    """Return the templates of a message in order: texts, image addresses, audio data."""
    content = message.content if isinstance(message.content, list) else [message.content]
    found: list[str] = []
    for part in content:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, InputImage):
            found.append(part.image_url)
        elif isinstance(part, InputAudio):
            found.append(part.input_audio.data)
        else:
            found.append(part.text)
    return found


def _check_template(text: str, where: str) -> None:
    try:
        parse_template(text)
    except TemplateError as error:
        raise ConfigError(f"the template can't be read: {error}", where=where) from error


def _convert(raw: Mapping[str, Any], kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(raw, kind, str_keys=True)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        raise ConfigError(what, where=where + place.removesuffix("`"), fix=_fix(what)) from None
    except RecursionError:
        raise ConfigError("the grader is nested too deeply", where=where) from None


def _fix(what: str) -> str:
    if "'neq'" in what:
        return "the operation is spelt ne"
    if "Invalid value '" in what or "required field `type`" in what:
        return "type is string_check, text_similarity, score_model, label_model, python or multi"
    return ""


def _step(key: str) -> str:
    return f".{key}" if re.fullmatch(r"\w+", key) else f"[{key!r}]"
