"""strop.toml -> one frozen object. The only place that reads configuration files and environment.

Order: defaults < strop.toml < STROP_SECTION__KEY < flags (`load(overrides=...)`).
Unknown keys fail. Secrets come from the environment alone: the file names the variable.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from strop.errors import ConfigError


class Section(BaseModel):
    """A frozen table of strop.toml that refuses keys it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Project(Section):
    """Whose rows these are."""

    name: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")


class Store(Section):
    """Where the rows live. The default is SQLite in `.strop/strop.db`."""

    url: str | None = None


class Source(Section):
    """One source of traces; docs/sources.md says which keys each kind reads.

    kind: "otlp" and "capture" are received by `strop serve`, nothing is fetched; the others are files or
    platforms. path: file, glob or object-store address, relative to strop.toml. project: whatever the
    platform calls the place where the traces are. user_env, api_key_env: names of the environment variables
    with the user (or public key) and the key (or password). customer_key: attribute that names the customer.
    since: how far back the first pull goes ("30d", "12h") or from when (ISO 8601); of platforms only.
    settle_minutes: younger traces may still be growing; they are left for the next pull.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    kind: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    path: str | None = None
    url: str | None = None
    project: str | None = None
    workspace: str | None = None
    user_env: str | None = None
    api_key_env: str | None = None
    customer_key: str = "customer.id"
    max_trace_mb: float = 20.0
    since: str = "30d"
    settle_minutes: float = Field(default=15.0, ge=0)
    timeout_s: float = Field(default=60.0, gt=0)
    query: str | None = None
    sql: str | None = None
    columns: dict[str, str] = {}


class Labels(Section):
    """Ground truth: SQL with :workflow_id, :trace_id and :trace_time (UTC ISO 8601), or a score's name.

    The columns of the first row become `ground_truth`.
    """

    url: str | None = None
    sql: str | None = None
    score: str | None = None
    max_missing: float = 0.10


class Redact(Section):
    """What must survive and which fields name people.

    protect: regexes of business identifiers; identity_fields: JSON keys and span attributes whose
    values are people's, matched by full key or its last dotted part (strasse is Straße, first_name
    firstName). names: who finds names and addresses in sentences: "builtin", "off", or "presidio:PATH",
    "spacy:PATH", "gliner:PATH".
    """

    protect: tuple[str, ...] = ()
    identity_fields: tuple[str, ...] = (
        "name", "full_name", "customer_name", "recipient", "sender", "contact",
        "user.name", "user.email", "email", "phone", "telephone", "mobile",
        "street", "address", "street_address", "shipping_address", "billing_address", "delivery_address",
        "strasse", "anschrift", "adresse", "first_name", "last_name", "given_name", "family_name",
        "surname", "vorname", "nachname", "empfaenger", "absender", "ansprechpartner", "phone_number",
        "telefon",
    )  # fmt: skip
    names: str = Field(default="builtin", pattern=r"^(builtin|off|(presidio|spacy|gliner):.+)$")
    salt_env: str = "STROP_REDACTION_KEY"

    def beside(self, root: Path) -> Redact:
        """Return the settings with a relative path of a model resolved against `root`."""
        kind, colon, path = self.names.partition(":")
        names = f"{kind}:{(root / path).resolve()}" if colon else self.names
        return self.model_copy(update={"names": names})


class Engine(Section):
    """Where chunks of traces are worked on. ray: a Ray cluster's address; else this machine's cores."""

    ray: str | None = None


class Curate(Section):
    """Floors, near-duplicates, balance, and the split by group and time.

    near_duplicate: Jaccard similarity of two traces' words, from which on they count as near-duplicates; 0
    looks for none. customers: "capped" drops training rows of the loudest customer over
    `max_customer_share`; "weighted" keeps all rows, and of a customer with n rows each weighs `weights` / n.
    oversample: factors on the weights of traces that failed, whose sequence of tools is rare, or that no
    earlier model was trained on. group_by: "task", "session", "customer" or an attribute that names the
    group; else workflow, session, task. failure_budget: share of pulled traces that may be unreadable.
    """

    min_rows: int = Field(default=1000, ge=0)
    near_duplicate: float = Field(default=0.9, ge=0, le=1)
    customers: Literal["capped", "weighted"] = "capped"
    max_customer_share: float = Field(default=0.20, gt=0, le=1)
    weights: str = "n^0.5"
    oversample: dict[Literal["failing", "rare", "new"], Annotated[float, Field(gt=0, le=100)]] = {}
    validation_share: float = Field(default=0.10, ge=0, lt=1)
    test_share: float = Field(default=0.20, ge=0, lt=1)
    unseen_customer_share: float = Field(default=0.15, ge=0, lt=1)
    group_by: str | None = None
    failure_budget: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _weights_ask_for_weighting(cls, data: Any) -> Any:
        if isinstance(data, dict) and "weights" in data and "customers" not in data:
            return {**cast("dict[str, Any]", data), "customers": "weighted"}
        return data

    @field_validator("near_duplicate")
    @classmethod
    def _threshold_or_off(cls, threshold: float) -> float:
        if 0 < threshold < 0.5:
            raise ValueError(
                "traces that share less than half of their words are no near-duplicates: 0.5 to 1"
            )
        return threshold

    @field_validator("weights")
    @classmethod
    def _power_of_n(cls, weights: str) -> str:
        if not re.fullmatch(r"n\^(0(\.[0-9]+)?|1(\.0+)?)", weights):
            raise ValueError(
                'write n^ and a number from 0 (customers alike) to 1 (rows alike), as in "n^0.5"'
            )
        return weights

    @model_validator(mode="after")
    def _something_is_left_to_train(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on")
        return self

    @property
    def exponent(self) -> float:
        """What a customer's number of rows is raised to, to say how much all of them weigh together."""
        return float(self.weights.removeprefix("n^"))


class Grade(Section):
    """The grader and its limits.

    file: Python, or OpenAI's grader JSON (`.json`). models_*: the endpoint that the JSON's model graders
    are asked at, prices and the cap in US dollars.
    extract: JSON keys of the final answer that are lifted to the top level of `rollout`.
    """

    file: str = "grader.py"
    extract: tuple[str, ...] = ()
    failure_budget: float = 0.05
    timeout_s: float = 5.0
    cpu_s: int = 5
    memory_mb: int = 512
    workers: int = 2
    models_base_url: str | None = None
    models_api_key_env: str | None = None
    models_timeout_s: float = 30.0
    models_usd_per_call: float = Field(default=0.0, ge=0)
    models_max_usd: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _cap_has_a_price(self) -> Grade:
        if self.models_max_usd is not None and not self.models_usd_per_call:
            raise ValueError(
                "models_max_usd needs models_usd_per_call: without a price nothing is ever spent"
            )
        return self


class Judge(Section):
    """A rubric behind an OpenAI-compatible endpoint; its verdict is `llm_judge.<name>`.

    scale: empty for yes or no; else the whole numbers that the judge may give, ascending; the verdict is
    then the number scaled into [0, 1]. max_usd: what one process may spend on it.
    field: the answer's field that is judged (None: the whole answer); an answer without it fails.
    command: where no base_url is given, a local judge that strop starts in strop.toml's folder for
    the time it needs one; its first line of output is its base URL. `{python}` is this interpreter.
    """

    base_url: str | None = None
    command: tuple[str, ...] | None = None
    model: str = "judge"
    rubric: str
    field: str | None = None
    api_key_env: str | None = None
    timeout_s: float = 30.0
    usd_per_call: float = Field(default=0.0, ge=0)
    max_usd: float | None = Field(default=None, ge=0)
    scale: tuple[int, ...] = ()

    @field_validator("scale")
    @classmethod
    def _scale_ascends(cls, scale: tuple[int, ...]) -> tuple[int, ...]:
        if scale and (len(scale) < 2 or list(scale) != sorted(set(scale))):
            raise ValueError("a scale is two or more whole numbers, ascending: [1, 2, 3, 4, 5]")
        return scale

    @model_validator(mode="after")
    def _cap_has_a_price(self) -> Judge:
        if self.max_usd is not None and not self.usd_per_call:
            raise ValueError("max_usd needs usd_per_call: without a price nothing is ever spent")
        return self


class Audit(Section):
    """The grader's examination.

    prompts: so many recorded prompts are looked at, cases: and so many of them probes are built from.
    outcome: the component that says the task was done (default: the heaviest). writes: names of the tools
    that change the world (default: told by their verbs). held_out: a second grader file, never the reward.
    golden: file of golden cases, JSONL. human: name of the traces' scores that people gave.
    required: `strop run` and `strop train` refuse a grader that failed.
    judge_labels: for a judge, the score by people that its verdict should agree with.
    """

    prompts: int = Field(default=200, ge=1)
    cases: int = Field(default=40, ge=1)
    outcome: str | None = None
    writes: tuple[str, ...] | None = None
    held_out: str | None = None
    golden: str | None = None
    human: str | None = None
    judge_labels: dict[str, str] = {}
    required: bool = True


class Environment(Section):
    """The world a rollout acts in."""

    mode: Literal["replay"] = "replay"
    max_turns: int = 4
    max_misses: float = 0.02
    max_miss_gap: float = 0.01


class Train(Section):
    """Warm start on well-graded episodes, then GRPO against replayed tools.

    sft_*: steps of `sft_batch` episodes with a grade of at least `sft_min_score`. grpo_*: steps of
    `grpo_prompts` tasks x `grpo_group` rollouts. Before them the warm start tries `grpo_screen` tasks once;
    `grpo_hard_share` of the tasks of a step are those that it failed there (score below `sft_min_score`). Of
    the tried ones as large a share are those whose recorded episode was graded below that, where it had
    nothing to imitate.
    max_new_tokens: a turn; max_tokens: a whole rollout. checkpoint_seconds: at most this much work is
    done again after a crash, beside the step in progress; 0 writes a checkpoint at every step's end.
    dtype: of the weights while training; auto takes what a short probe finds faster, once a run.
    """

    base: str = "smollm2-135m"
    seed: int = 0
    threads: int | None = None
    sft_steps: int = 60
    sft_batch: int = 8
    sft_lr: float = 2e-4
    sft_min_score: float = 0.9
    grpo_steps: int = 20
    grpo_prompts: int = 4
    grpo_group: int = 8
    grpo_lr: float = 5e-6
    kl_coef: float = 0.02
    temperature: float = 1.0
    max_new_tokens: int = 160
    max_tokens: int = 1024
    grpo_screen: int = Field(default=64, ge=0)
    grpo_hard_share: float = Field(default=0.5, ge=0, le=1)
    checkpoint_seconds: float = 60.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"


class Teacher(Section):
    """The model to be replaced, and what it costs (US dollars)."""

    name: str = "teacher"
    usd_per_ticket: float = 0.20
    usd_per_million_prompt: float = 2.50
    usd_per_million_completion: float = 10.0
    price_list: str = "list price of the named model"


class Machine(Section):
    """What the candidate's machine costs (US dollars a month), and how much work it gets."""

    usd_per_month: float = 40.0
    cores: int = 2
    tickets_per_day: float = 1000.0
    amortise_days: int = 30


class Compare(Section):
    """The comparison on the untouched test split.

    max_tasks: compare on this many tasks, chosen by hash. facets: keys of ground_truth whose values
    group the report (carrier, language, ...). batch: rollouts side by side. timed: tickets that the
    candidate answers one at a time, to measure what serving costs.
    """

    max_tasks: int | None = None
    facets: tuple[str, ...] = ()
    batch: int = 64
    timed: int = Field(default=20, ge=1)


class Baselines(Section):
    """Simple policies that always stand beside the arms, for a task whose answer is one class.

    label: key of ground_truth with the right class. answer_field: field of the final answer with the
    given one. file: JSON {"tool", "field", "keywords"}: where the newest event stands in a tool's
    result ("events": the last item of that list), and {words: class}.
    """

    file: str | None = None
    label: str | None = None
    answer_field: str | None = None


class Promote(Section):
    """The gate."""

    margin: float = 0.03
    alpha: float = 0.025
    component_margin: float = 0.10
    min_tool_rate: float = 0.10
    abandoned_below: float = 0.5
    min_clusters: float = 10.0
    approval: bool = False


class Serve(Section):
    """The OpenAI-compatible server. Loopback and a key by default.

    names: further names of the served model, beside `champion` and its id. fallback: base URL of the
    teacher, asked again where the small model's answer is invalid. max_waiting calls wait at most
    max_wait_s for the model; beyond that callers are told to retry.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)
    api_key_env: str = "STROP_API_KEY"
    names: tuple[str, ...] = ()
    capture: bool = True
    fallback: str | None = None
    fallback_api_key_env: str | None = None
    max_waiting: int = Field(default=16, ge=0)
    max_wait_s: float = Field(default=30.0, gt=0)


class Config(Section):
    """All of strop.toml, with `root` (its folder) and `state` (`.strop/` beside it)."""

    root: Path
    project: Project = Project()
    store: Store = Store()
    sources: tuple[Source, ...] = ()
    labels: Labels = Labels()
    redact: Redact = Redact()
    engine: Engine = Engine()
    curate: Curate = Curate()
    grade: Grade = Grade()
    judges: dict[str, Judge] = {}
    audit: Audit = Audit()
    environment: Environment = Environment()
    train: Train = Train()
    teacher: Teacher = Teacher()
    machine: Machine = Machine()
    compare: Compare = Compare()
    baselines: Baselines = Baselines()
    promote: Promote = Promote()
    serve: Serve = Serve()

    @field_validator("redact")
    @classmethod
    def _model_is_beside_the_file(cls, redact: Redact, info: ValidationInfo) -> Redact:
        return redact.beside(info.data["root"])

    @field_validator("sources")
    @classmethod
    def _names_are_unique(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [s.name for s in sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources share a name")
        return sources

    @property
    def state(self) -> Path:
        """The folder of everything that strop keeps."""
        return self.root / ".strop"

    @property
    def cache(self) -> Path:
        """Where what can be made again is kept: STROP_CACHE, so that projects can share it."""
        return Path(os.environ.get("STROP_CACHE") or self.state / "cache").resolve()

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.store.url or f"sqlite:///{self.state / 'strop.db'}"

    def path(self, relative: str) -> Path:
        """Resolve a path of strop.toml against its folder."""
        return (self.root / relative).resolve()

    def sqlite_url(self, url: str) -> str:
        """Resolve a relative SQLite URL against strop.toml's folder; leave other URLs alone."""
        prefix = "sqlite:///"
        if url.startswith(prefix) and not url.startswith("sqlite:////"):
            return prefix + str(self.path(url[len(prefix) :]))
        return url


def load(
    root: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read strop.toml in `root` (default: the current folder or the nearest parent that has one).

    overrides: dotted keys, such as {"train.sft_steps": 5}. Raises ConfigError, naming the key.
    """
    file = _find(root)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"strop.toml can't be read: {error}", where=str(file)) from error
    return _read(data, file, overrides or {}, os.environ if environ is None else environ)


def defaults(
    root: Path, *, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Return the configuration of a folder without strop.toml: defaults, environment and overrides."""
    environ = os.environ if environ is None else environ
    return _read({}, root / "strop.toml", overrides or {}, environ)


def _read(
    data: dict[str, Any], file: Path, overrides: Mapping[str, Any], environ: Mapping[str, str]
) -> Config:
    if "root" in data:
        raise ConfigError("unknown key: root", where=str(file), fix="remove it; the folder is the file's own")
    for name, value in environ.items():
        if name.startswith("STROP_") and "__" in name:
            section, key = name.removeprefix("STROP_").lower().split("__", 1)
            _assign(data, [section, *key.split("__")], value)
    for dotted, value in overrides.items():
        _assign(data, dotted.split("."), value)
    try:
        return Config.model_validate({**data, "root": file.parent.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        unknown = first["type"] == "extra_forbidden"
        what = f"unknown key: {key}" if unknown else f"{key}: {first['msg'].removeprefix('Value error, ')}"
        fix = _nearest(first["loc"]) if unknown else f"correct {key}"
        raise ConfigError(what, where=str(file), fix=fix) from error


def _nearest(place: Sequence[str | int]) -> str:
    """Say which keys there are where an unknown one stands, the likeliest first where one is near."""
    section: type[BaseModel] = Config
    for part in place[:-1]:
        annotation = (
            section.model_fields[part].annotation
            if isinstance(part, str) and part in section.model_fields
            else None
        )
        section = next((t for t in _types(annotation) if issubclass(t, BaseModel)), section)
    known = sorted(section.model_fields.keys() - {"root"})
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else f"the keys here: {', '.join(known)}"


def _types(annotation: Any) -> list[type]:
    """Return the classes that an annotation is made of."""
    inside = [found for part in get_args(annotation) for found in _types(part)]
    return inside or ([annotation] if isinstance(annotation, type) else [])


def secret(name: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the secret in environment variable `name`, or None where none is named or set."""
    environ = os.environ if environ is None else environ
    return environ.get(name) if name else None


def _find(root: Path | None) -> Path:
    start = (root or Path.cwd()).resolve()
    for folder in [start] if root else [start, *start.parents]:
        if (folder / "strop.toml").is_file():
            return folder / "strop.toml"
    raise ConfigError(
        "there is no strop.toml here",
        where=str(start),
        fix="strop init   # writes a commented one; strop demo brings an example company",
    )


def _assign(data: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(keys)} can't be set: {key} is not a table")
        data = inner
    data[keys[-1]] = value
