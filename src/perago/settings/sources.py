"""The sources of settings, read into values by variable name."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dotenv.parser import Original

from perago.files.credentials import Origin
from perago.files.documents import parse_dotenv, parse_yaml, read_file, value_at
from perago.files.private_directory import fault_of_source
from perago.settings.variables import DECLARED, ENVIRONMENT_ONLY, SECRETS, TOML_KEYS, Variables
from perago.values.credentials import CREDENTIALS, LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_TOKEN, LAKEFS_URL

LAKECTL_KEYS = {
    LAKEFS_URL: "server.endpoint_url",
    LAKEFS_KEY_ID: "credentials.access_key_id",
    LAKEFS_SECRET: "credentials.secret_access_key",
    LAKEFS_TOKEN: "credentials.session_token",
}
"""Keys of lakectl's configuration file. lakectl itself ignores the last one."""

_TOOL = "tool.perago."
_VARIABLES = {declared.toml_key: name for name, declared in DECLARED.items() if declared.toml_key}
_TABLES = frozenset(key.split(".")[0] for key in _VARIABLES if "." in key)

_NEAR = 0.4
"""Similarity, from 0 to 1, from which on a variable is suggested."""
_LIKE_OURS = re.compile("PERAGO_[A-Z0-9_]+", re.IGNORECASE)
_OF_OTHERS = re.compile(
    # The first are read by commands, the next two by the systemd unit, the others by tests and benchmarks.
    "PERAGO_(TRACEBACK|MODULES|SLOTS|PROVE|(TEST|BENCH)_.*)"
    # Kubernetes sets these for a service, whose name may be `perago-log`.
    "|.*(_SERVICE_HOST|_SERVICE_PORT.*|_PORT(_.*)?)"
)


@dataclass(frozen=True)
class Source:
    """The content of one source.

    Attributes:
        label: its name in messages.
        values: unchecked values by variable name.
        faults: faults of the source itself, as complete sentences.
        path: of its file, or of the directory of its files; None for the environment.
        kind: format of its file, or of the directory's files.
        keys: names in the file by variable; empty if they are the variables themselves.
        warnings: of what has no effect in it, as complete sentences.
        of_project: a project's file, or a file that one names; its author may be a stranger.
        passed_over: why it does not count, after its name; "" if it counts.
    """

    label: str
    values: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    path: Path | None = None
    kind: Literal["text", "dotenv", "toml", "yaml"] = "text"
    keys: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    of_project: bool = False
    passed_over: str = ""

    def origin(self, variable: str) -> str:
        """The place of a variable in this source, for a message."""
        key = self.keys.get(variable)
        return self.label if key is None else f"`{key.removeprefix(_TOOL)}` in {self.label}"

    def place(self, variable: str) -> Origin:
        """The place of a variable, from which it can be read again."""
        label = self.origin(variable)
        if self.path is None:
            return Origin(label)
        path = self.path / variable if self.kind == "text" else self.path
        return Origin(label, str(path), self.kind, self.keys.get(variable, variable))

    def without(self, variables: Container[str]) -> Source:
        return replace(self, values={name: item for name, item in self.values.items() if name not in variables})


def read_sources(cwd: Path, environment: Mapping[str, str]) -> tuple[Source, ...]:
    """All sources, the strongest first. A missing file is an empty source."""
    sources = [
        Source("the environment", _known(environment), warnings=_unknown(environment, "the environment")),
        _of_project(cwd / ".env", environment, _read_dotenv),
        _of_project(cwd / "perago.toml", environment, _read_perago_toml),
        _of_project(cwd / "pyproject.toml", environment, _read_pyproject),
    ]
    directory = first(sources, "PERAGO_SECRETS_DIR")
    if directory is not None:
        sources.append(_read_directory(cwd / Path(directory).expanduser()))
    if not _is_lakefs_given(sources):
        sources.append(lakectl_source(sources, cwd, environment))
    return tuple(sources)


def lakectl_source(sources: Iterable[Source], cwd: Path, environment: Mapping[str, str]) -> Source:
    """The file of lakeFS's own command line that these sources name, or the one in the home directory."""
    naming = next((source for source in sources if "LAKECTL_CONFIG_FILE" in source.values), None)
    file = None if naming is None else first([naming], "LAKECTL_CONFIG_FILE")
    if naming is not None and file is not None:
        found = _read_lakectl(cwd / Path(file).expanduser(), file, must_exist=True)
        return replace(found, of_project=naming.of_project)
    home = environment.get("HOME")
    path = Path(home) / ".lakectl.yaml" if home else None
    return Source("~/.lakectl.yaml") if path is None else _read_lakectl(path, "~/.lakectl.yaml", must_exist=False)


def _of_project(path: Path, environment: Mapping[str, str], read: Callable[[Path], Source]) -> Source:
    """A file of the current directory. It counts only if no other user could have written it, and sets no guard."""
    if not path.is_file():
        return Source(path.name)
    fault = fault_of_source(path, environment)
    if fault is not None:
        told = f"{path} is passed over: it {fault}"
        return Source(path.name, warnings=(told,), passed_over=told)
    source = read(path)
    told_off = tuple(
        f"{name} has no effect in {source.label}, because it switches off a check of this host; export it"
        for name in sorted(ENVIRONMENT_ONLY & source.values.keys())
    )
    return replace(source.without(ENVIRONMENT_ONLY), warnings=(*source.warnings, *told_off), of_project=True)


def first(sources: Iterable[Source], variable: str) -> str | None:
    """The text of a variable; None if it is not set, blank, or not text."""
    value = next((source.values[variable] for source in sources if variable in source.values), None)
    return value.strip() or None if isinstance(value, str) else None


def _is_lakefs_given(sources: Sequence[Source]) -> bool:
    """Whether these sources have all that lakeFS needs, so that lakectl's file is not read."""
    has_key = first(sources, LAKEFS_KEY_ID) is not None and first(sources, LAKEFS_SECRET) is not None
    return first(sources, LAKEFS_URL) is not None and (has_key or first(sources, LAKEFS_TOKEN) is not None)


def nearest(name: str) -> str | None:
    """The variable of Perago with the most similar name, if any."""
    known = {name.removeprefix("PERAGO_"): name for name in Variables.model_fields if name.startswith("PERAGO_")}
    near = difflib.get_close_matches(name.upper().removeprefix("PERAGO_"), known, n=1, cutoff=_NEAR)
    return known[near[0]] if near else None


def _unknown(names: Iterable[str], label: str) -> tuple[str, ...]:
    """Warnings of variables with a name like Perago's that do not exist."""
    known = Variables.model_fields
    found = sorted(
        name for name in names if name not in known and _LIKE_OURS.fullmatch(name) and not _OF_OTHERS.fullmatch(name)
    )
    near = [nearest(name) for name in found]
    return tuple(
        f"{name} in {label} is not a setting and has no effect{f'; did you mean {meant}?' if meant else ''}"
        for name, meant in zip(found, near, strict=True)
    )


def _known(given: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in Variables.model_fields and value is not None}


_READ_BY_THEMSELVES = {"OTEL_": "OpenTelemetry", "OPENLINEAGE_": "OpenLineage's client"}
"""Libraries that read their variables themselves, by the beginning of their names."""


def _read_dotenv(path: Path) -> Source:
    try:
        bindings = parse_dotenv(read_file(path))
    except ValueError as exc:
        return Source(".env", faults=(f".env cannot be read: {exc}",))
    given = {binding.key: binding.value for binding in bindings if binding.key is not None}
    warnings = _unknown(given, ".env")
    for prefix, library in _READ_BY_THEMSELVES.items():
        unread = sorted(name for name in given if name.startswith(prefix) and name not in Variables.model_fields)
        if unread:
            why = f"because {library} reads it only from the environment; export it"
            warnings = (f"{', '.join(unread)} has no effect in .env, {why}", *warnings)
    faults = tuple(_cannot_be_read(binding.original) for binding in bindings if binding.error)
    return Source(".env", _known(given), tuple(filter(None, faults)), path, "dotenv", warnings=warnings)


def _cannot_be_read(statement: Original) -> str:
    """The fault of an unreadable statement that names a setting of Perago; otherwise ""."""
    assigned = set(re.findall(r"(?m)^\s*(?:export\s+)?(\w+)\s*=", statement.string))
    named = sorted(assigned & Variables.model_fields.keys())
    if not named:
        return ""
    return f"{', '.join(named)} (.env): line {statement.line} and the following ones cannot be read; check the quotes"


def _read_perago_toml(path: Path) -> Source:
    return _read_toml(path, "perago.toml", lambda document: document)


def _read_pyproject(path: Path) -> Source:
    return _read_toml(path, "[tool.perago] of pyproject.toml", _tool_table, committed=True)


def _read_toml(
    path: Path, label: str, select: Callable[[dict[str, Any]], object], *, committed: bool = False
) -> Source:
    try:
        document = tomllib.loads(read_file(path))
    except tomllib.TOMLDecodeError as exc:
        return Source(label, faults=(f"{path.name} is not valid TOML: {exc}",))
    except ValueError as exc:
        return Source(label, faults=(f"{path.name} cannot be read: {exc}",))
    table = select(document)
    if not isinstance(table, dict):
        return Source(label, faults=(f"{label} must be a table",))
    return _sort_keys(table, label, path, committed=committed)


def _tool_table(document: dict[str, Any]) -> object:
    tool = document.get("tool", {})
    return tool.get("perago", {}) if isinstance(tool, dict) else {}


def _sort_keys(table: dict[str, Any], label: str, path: Path, *, committed: bool) -> Source:
    values: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in _flatten(table):
        variable = _VARIABLES.get(key)
        if variable is None:
            faults.append(_unknown_key(key, label))
        elif committed and variable in SECRETS:
            faults.append(
                f"{variable} (`{key}` in {label}): a secret must not be in a committed file; "
                f"move it to .env or the environment, and replace it if it was ever committed"
            )
        else:
            values[variable] = value
    keys = {name: f"{_TOOL if committed else ''}{key}" for key, name in _VARIABLES.items()}
    return Source(label, values, tuple(faults), path, "toml", keys)


def _read_directory(path: Path) -> Source:
    """Credentials in a file each. Other files are not read."""
    label = f"PERAGO_SECRETS_DIR {path}"
    values: dict[str, Any] = {}
    faults = [] if path.is_dir() else [f"{label} is not a directory"]
    for name in CREDENTIALS:
        try:
            values[name] = read_file(path / name).strip()
        except ValueError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError | NotADirectoryError):
                faults.append(f"{name} ({label}) cannot be read: {exc}")
    return Source(label, values, tuple(faults), path)


def _read_lakectl(path: Path, label: str, *, must_exist: bool) -> Source:
    """The file of lakeFS's own command line.

    Args:
        label: the file as the user names it.
    """
    if not path.exists() and not must_exist:
        return Source(label)
    try:
        document = parse_yaml(read_file(path))
    except ImportError:  # without the extra `lakefs` there is no use for it
        return Source(label)
    except ValueError as exc:
        return Source(label, faults=(f"{label}, the configuration of lakectl, cannot be read: {exc}",))
    found = {name: value_at(document, key) for name, key in LAKECTL_KEYS.items()}
    values = {name: value for name, value in found.items() if value is not None}
    return Source(label, values, path=path, kind="yaml", keys=LAKECTL_KEYS)


def _flatten(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if key in _TABLES and isinstance(value, dict):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _unknown_key(key: str, label: str) -> str:
    if key in _TABLES:
        return f"`{key}` in {label} must be a table; write [{key}] above its keys"
    near = difflib.get_close_matches(key.lower().removeprefix("perago_"), _VARIABLES, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else f". Settings are {', '.join(sorted(TOML_KEYS.values()))}"
    return f"`{key}` in {label} is not a setting{hint}"
