"""Files in object stores, read through obstore: s3://bucket/..., gs://bucket/..., az://account/container/...

Credentials come from the environment as each cloud's own tools read it (AWS_*, GOOGLE_*, AZURE_*), or from
the variables that user_env and api_key_env name; `url` is the endpoint of an S3-compatible server.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from strop.config import Source, secret
from strop.errors import ConfigError, OutsideServiceError
from strop.sources.files.containers import File, is_known, stem_of

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_AZURE = ("az", "azure", "abfs", "abfss")
_READ_AHEAD = 4 << 20  # bytes asked for at a time

Connect = Callable[[str, Source], Any]


def is_address(path: str) -> bool:
    """Say whether a source's path is an address in an object store."""
    return path.partition("://")[0] in _SCHEMES and "://" in path


def objects(source: Source, address: str, connect: Connect | None = None) -> list[File]:
    """Return the objects that an address names, sorted: one object, a glob, or all below a prefix.

    connect: makes the store of a bucket's address. Raises ConfigError without obstore,
    OutsideServiceError where the store does not answer.
    """
    obstore = _obstore()
    bucket, key = _split(address)
    store = (connect or _store)(bucket, source)
    fixed, wanted = _pattern(key)
    found: list[File] = []
    try:
        for meta in _listed(obstore, store, key, fixed):
            path, size = str(meta["path"]), int(meta["size"])
            if size and wanted(path):
                label = path.rpartition("/")[2]
                stem = stem_of(label if path == key else path.removeprefix(fixed).lstrip("/"))
                opened = _opener(obstore, store, path, size)
                found.append(File(f"{bucket}/{path}", label, stem, size, opened))
    except (OSError, ValueError, obstore.exceptions.BaseError) as error:
        raise OutsideServiceError(
            f"source {source.name}: the object store does not answer: {type(error).__name__}",
            where=bucket,
            fix="check the address, the credentials in the environment and url in strop.toml",
        ) from error
    return sorted(found, key=lambda f: f.name)


def _obstore() -> Any:
    try:
        return importlib.import_module("obstore")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "object stores can't be read here",
            where="sources.path in strop.toml",
            fix="pip install 'strop[objects]'",
        ) from error


def _split(address: str) -> tuple[str, str]:
    """Take an address apart into its bucket (of Azure: account and container) and the key."""
    scheme, _, rest = address.partition("://")
    parts = rest.split("/")
    depth = 2 if scheme in _AZURE else 1
    return f"{scheme}://" + "/".join(parts[:depth]), "/".join(parts[depth:])


def _store(bucket: str, source: Source) -> Any:
    make = importlib.import_module("obstore.store").from_url
    user, key = secret(source.user_env), secret(source.api_key_env)
    options: dict[str, Any] = {}
    if bucket.startswith("s3"):
        given = {"access_key_id": user, "secret_access_key": key, "endpoint": source.url}
        options = {k: v for k, v in given.items() if v}
    elif bucket.startswith(_AZURE):
        given = {"account_name": user, "account_key": key, "endpoint": source.url}
        options = {k: v for k, v in given.items() if v}
    elif key:
        options = {"service_account_key": key}
    plain = bool(source.url and source.url.startswith("http://"))
    try:
        return make(
            bucket,
            **options,
            client_options={"timeout": f"{source.timeout_s:g}s", "allow_http": plain},
            retry_config={"max_retries": 4},
        )
    except Exception as error:
        raise ConfigError(
            f"source {source.name}: {bucket} can't be opened: {type(error).__name__}",
            where="strop.toml, [[sources]]",
            fix="check path, url, user_env and api_key_env",
        ) from error


def _pattern(key: str) -> tuple[str, Callable[[str], bool]]:
    """Return the fixed beginning of a key and what says whether an object's path is wanted."""
    parts = key.split("/")
    fixed: list[str] = []
    while len(fixed) < len(parts) and not any(c in parts[len(fixed)] for c in "*?["):
        fixed.append(parts[len(fixed)])
    prefix = "/".join(fixed)
    if len(fixed) == len(parts):
        folder = prefix.rstrip("/") + "/" if prefix else ""
        return folder, lambda path: path == key or (path.startswith(folder) and is_known(path))
    try:
        regex = re.compile(glob_regex(key))
    except re.error as error:
        raise ConfigError(
            f"{key!r} is no pattern of files", where="sources.path in strop.toml", fix="correct its [...]"
        ) from error
    return prefix, lambda path: path == key or regex.fullmatch(path) is not None


def glob_regex(pattern: str) -> str:
    """Return the regular expression of a glob: of `**`, `*`, `?` and `[a-z]` only `**` crosses slashes."""
    out: list[str] = []
    i = 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out.append("(?:.*/)?")
            i += 3
        elif pattern.startswith("**", i):
            out.append(".*")
            i += 2
        elif pattern[i] == "*":
            out.append("[^/]*")
            i += 1
        elif pattern[i] == "?":
            out.append("[^/]")
            i += 1
        elif pattern[i] == "[" and (end := pattern.find("]", i + 2)) > 0:
            among = re.sub(r"([\\\[&~|^])", r"\\\1", pattern[i + 1 : end])
            out.append(f"(?!/)[{'^' + among[1:] if among.startswith('!') else among}]")
            i = end + 1
        else:
            out.append(re.escape(pattern[i]))
            i += 1
    return "".join(out)


def _listed(obstore: Any, store: Any, key: str, fixed: str) -> Iterator[dict[str, Any]]:
    if key and not any(c in key for c in "*?[") and not key.endswith("/"):
        try:
            yield obstore.head(store, key)
            return
        except FileNotFoundError:
            pass
    for batch in obstore.list(store, prefix=fixed.strip("/") or None, chunk_size=1000):
        yield from batch


def _opener(obstore: Any, store: Any, path: str, size: int) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        reader = obstore.open_reader(store, path, buffer_size=_READ_AHEAD, size=size)
        return cast(BinaryIO, io.BufferedReader(_ObjectReader(obstore, reader, path), 1 << 20))

    return opened


class _ObjectReader(io.RawIOBase):
    """An object as a raw file; what goes wrong on the way is the service's error."""

    def __init__(self, obstore: Any, reader: Any, path: str) -> None:
        super().__init__()
        self._errors, self._reader, self._path = obstore.exceptions.BaseError, reader, path

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer. Raises OutsideServiceError."""
        try:
            data = memoryview(self._reader.read(len(buffer)))
        except (self._errors, OSError) as error:
            raise OutsideServiceError(
                f"an object could not be read: {type(error).__name__}", where=self._path, fix="pull again"
            ) from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte."""
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        """Return the byte where reading stands."""
        return int(self._reader.tell())
