"""Credentials that are kept in files, and are read again when a file changes."""

from __future__ import annotations

import logging
import os
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perago.files.documents import parse_dotenv, parse_yaml, read_file, value_at
from perago.values import redaction

_LOGGER = logging.getLogger("perago.settings")

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files. A server that refuses a credential causes a look at once."""


@dataclass(frozen=True)
class Origin:
    """The place of one value.

    Attributes:
        label: for messages, such as "the environment".
        path: absolute path of a file; "" for a value that cannot change, as in the environment.
        kind: format of the file. `text` is a file whose whole content is the value.
        key: the value's name in the file; dotted in TOML and YAML.
    """

    label: str
    path: str = ""
    kind: Literal["text", "dotenv", "toml", "yaml"] = "text"
    key: str = ""


@dataclass
class Credentials:
    """Values that belong together, such as the ID and the secret of an access key.

    Values from files are read again when a file changes. They are replaced all together or not at all: if one cannot be
    read, or the server's URL differs, the old values remain.

    Attributes:
        values: by name.
        origins: of the values, by the same names.
        server: name of the value that is the server's URL. Credentials are for this server only.
    """

    values: Mapping[str, str] = field(repr=False)
    origins: Mapping[str, Origin]
    server: str = ""
    _seen: tuple[object, ...] | None = None
    _looked: float = float("-inf")

    def __post_init__(self) -> None:
        self._seen = self._stamp()

    def __call__(self) -> Mapping[str, str]:
        """The values. Looks at the files, at most once in `LOOK_SECONDS`."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._read()
        return self.values

    def renew(self) -> Mapping[str, str]:
        """The values, after reading the files, because the server has refused the values."""
        self._seen = self._stamp()
        self._read()
        return self.values

    def sources(self) -> str:
        """Names and sources of the values for a message, without the values."""
        return ", ".join(f"{name} ({origin.label})" for name, origin in self.origins.items() if name != self.server)

    def _files(self) -> list[str]:
        return sorted({origin.path for origin in self.origins.values() if origin.path})

    def _stamp(self) -> tuple[object, ...]:
        """Changes with each file. Follows links, because Kubernetes replaces a link."""
        return tuple(_stamp_of(path) for path in self._files())

    def _read(self) -> None:
        found = dict(self.values)
        for name, origin in self.origins.items():
            if origin.path:
                try:
                    found[name] = read_value(origin)
                except ValueError as exc:
                    _LOGGER.warning(
                        "%s (%s) cannot be read again: %s; the old value remains in use", name, origin.label, exc
                    )
                    return
        if self.server and found[self.server] != self.values[self.server]:
            _LOGGER.warning(
                "%s (%s) has changed; restart to use the other server", self.server, self.origins[self.server].label
            )
            return
        if found != self.values:
            redaction.learn(value for name, value in found.items() if name != self.server)
            self.values = found


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - for each second of an attempt
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_value(origin: Origin) -> str:
    """Read a value from its file.

    Raises:
        ValueError: it is missing, or the file cannot be read. Completes the sentence "cannot be read: ...".
    """
    content = read_file(Path(origin.path))
    value: object
    match origin.kind:
        case "text":
            value = content
        case "dotenv":
            value = {binding.key: binding.value for binding in parse_dotenv(content)}.get(origin.key)
        case "toml":
            try:
                value = value_at(tomllib.loads(content), origin.key)
            except tomllib.TOMLDecodeError as exc:
                raise ValueError("it is not valid TOML") from exc
        case "yaml":
            value = value_at(parse_yaml(content), origin.key)
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError("it has no value there")
    return text
