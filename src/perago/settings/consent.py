"""The user's consent to send a key of theirs to a server that only a file of a directory names.

A file for each directory and server, so that another server in that file needs another consent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from perago.errors import RuntimeConfigError
from perago.files.durable import record_errors, write_durably
from perago.files.private_directory import fault_of_source, make_private
from perago.settings.user_directories import user_state_directory
from perago.settings.values import read_url
from perago.values.redaction import mask_urls


def server_of(url: str) -> str:
    """A server's URL without what makes no difference: a user, the case of the host, and at the end a slash and the
    path of lakeFS's API."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return url
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2].lower())
    return plain.geturl().rstrip("/").removesuffix("/api/v1")


def is_allowed(directory: Path, url: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has allowed a server for a directory. A record that others could have made does not count."""
    try:
        path = _path(directory, url, environment)
        return path.is_file() and fault_of_source(path, environment) is None
    except (OSError, ValueError):
        return False


def refusal(keys: str, variable: str, origin: str, url: str, directory: Path) -> str:
    """Why a key does not go to a server, and how to allow it, in one line.

    Args:
        keys: names and places of the credentials.
        variable, origin: the variable of the server's URL, and its place.
    """
    command = f"perago allow {shlex.quote(mask_urls(server_of(url)))}"
    return (
        f"{keys} is not sent to {mask_urls(url)}, because only a file of the current directory names that server: "
        f"{variable} ({origin}). If you trust it, run `{command}` in {directory} once, or set {variable} in the "
        f"environment"
    )


def allow(directory: Path, url: str) -> None:
    """Allow a server for the files of a directory.

    Raises:
        RuntimeConfigError: it is not a URL, or the record would not be private.
        EngineError: the record cannot be written.
    """
    path = _checked_path(directory, url)
    with record_errors("the consent cannot be written to", path.parent):
        make_private(path.parent, "the directory of allowed servers")
        write_durably(path, json.dumps({"directory": str(directory.resolve()), "server": mask_urls(server_of(url))}))


def withdraw(directory: Path, url: str) -> bool:
    """Undo `allow`; returns False if the server was not allowed.

    Raises:
        RuntimeConfigError, EngineError: as `allow`.
    """
    path = _checked_path(directory, url)
    with record_errors("the consent cannot be removed from", path.parent):
        existed = path.exists()
        path.unlink(missing_ok=True)
    return existed


def allowed_servers(directory: Path) -> list[str]:
    """The servers that are allowed for a directory."""
    try:
        records = sorted(_directory(os.environ).iterdir())
    except (OSError, ValueError):
        return []
    return sorted(server for record in records if (server := _server_in(record, directory)))


def _server_in(record: Path, directory: Path) -> str:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        server = str(found["server"])
    except (OSError, ValueError, KeyError, TypeError):  # a record in the making, or none of Perago's
        return ""
    return server if record == _path(directory, server, os.environ) else ""


def _checked_path(directory: Path, url: str) -> Path:
    try:
        return _path(directory, read_url(url), os.environ)
    except ValueError as exc:
        raise RuntimeConfigError(f"the server {exc}") from None


def _path(directory: Path, url: str, environment: Mapping[str, str]) -> Path:
    key = hashlib.sha256(f"{directory.resolve()}\0{server_of(url)}".encode(errors="surrogateescape")).hexdigest()
    return _directory(environment) / key


def _directory(environment: Mapping[str, str]) -> Path:
    return user_state_directory(environment) / "allowed"
