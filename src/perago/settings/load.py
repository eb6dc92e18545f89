"""Builds a `RuntimeConfig` from the sources, or raises one error that lists all faults."""

from __future__ import annotations

import functools
import logging
import os
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perago.errors import RuntimeConfigError
from perago.files.credentials import Origin
from perago.settings.config import (
    ConductorConfig,
    LakeFSConfig,
    MetricsConfig,
    RuntimeConfig,
    TracesConfig,
)
from perago.settings.consent import is_allowed, refusal, server_of
from perago.settings.roots import probe_root, resolve_root
from perago.settings.sources import LAKECTL_KEYS, Source, first, lakectl_source, read_sources
from perago.settings.user_directories import user_cache_directory, user_state_directory
from perago.settings.variables import DECLARED, Variables, field_of, is_blank
from perago.values import redaction
from perago.values.credentials import (
    CONDUCTOR_KEY,
    CONDUCTOR_SECRET,
    CONDUCTOR_URL,
    CREDENTIALS,
    LAKEFS_KEY_ID,
    LAKEFS_SECRET,
    LAKEFS_TOKEN,
    LAKEFS_URL,
)

_LOGGER = logging.getLogger("perago.settings")
_DIRECTORIES: dict[str, Callable[[Mapping[str, str]], Path]] = {
    "PERAGO_WORKSPACE_ROOT": lambda environment: user_state_directory(environment) / "workspaces",
    "PERAGO_LOG_ROOT": lambda environment: user_state_directory(environment) / "logs",
    "PERAGO_CACHE_DIR": user_cache_directory,
}
"""Variable -> default directory."""
_PROBED = ("PERAGO_WORKSPACE_ROOT", "PERAGO_LOG_ROOT")
_LAKEFS = (LAKEFS_URL, LAKEFS_KEY_ID, LAKEFS_SECRET)


def load_runtime_config(
    module_target: str,
    *,
    cwd: Path | None = None,
    process_env: Mapping[str, str] | None = None,
    probe_roots: bool = True,
) -> RuntimeConfig:
    """Read the settings for a task module.

    Args:
        module_target: `pkg.module` or `pkg.module:function`; the default worker id prefix comes from it.
        cwd: directory of `.env`, `perago.toml` and `pyproject.toml`, and start of relative paths. Default: the current
            directory.
        process_env: Default: the process's environment.
        probe_roots: create the workspace and log directories, and check that they can be written.

    Raises:
        RuntimeConfigError: lists all faults, each with its variable and source, without secrets.
    """
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    environment = os.environ if process_env is None else process_env
    return _load(module_target, cwd, environment, _PROBED if probe_roots else ())


def load_run_config(module_target: str, *, probe_workspace_root: bool = True) -> RuntimeConfig:
    """Read the settings for one run in this process. It writes no log files, so their directory is not checked.

    Args:
        probe_workspace_root: create the workspace directory, and check that it can be written.

    Raises:
        RuntimeConfigError: as `load_runtime_config`.
    """
    return _load(module_target, Path.cwd(), os.environ, _PROBED[:1] if probe_workspace_root else ())


def configured(name: str) -> tuple[str, str] | None:
    """The text of one variable, and its source; None if it is not set."""
    sources = read_sources(Path.cwd(), os.environ)
    value = next((source.values[name] for source in sources if name in source.values), None)
    return None if not isinstance(value, str) or is_blank(value) else (value.strip(), origin_of(name, sources))


def origin_of(name: str, sources: Sequence[Source]) -> str:
    """The source of a variable's value, for a message."""
    source = next((source for source in sources if name in source.values), None)
    return "the default" if source is None or is_blank(source.values[name]) else source.origin(name)


def _load(module_target: str, cwd: Path, environment: Mapping[str, str], probed: Sequence[str]) -> RuntimeConfig:
    sources = read_sources(cwd, environment)
    for source in sources:
        for text in source.warnings:
            _warn(text)
    given = _Given(sources, cwd, environment)
    config = given.config(module_target, probed)
    redaction.learn([*config.secrets(), *given.secrets()])
    return config


@functools.cache  # settings are read several times in a process
def _warn(text: str) -> None:
    _LOGGER.warning("%s", text)


class _Given:
    """The values of the sources and their faults.

    Attributes:
        faults: complete sentences, in the order in which they were found.
        refused: see `RuntimeConfig`.
    """

    def __init__(self, sources: Sequence[Source], cwd: Path, environment: Mapping[str, str]) -> None:
        self._sources = sources
        self._cwd = cwd
        self._environment = environment
        self.refused: dict[str, str] = {}
        self.faults = [fault for source in sources for fault in source.faults]
        self._variables, self._refused = self._check()

    def config(self, module_target: str, probed: Sequence[str]) -> RuntimeConfig:
        """The settings.

        Raises:
            RuntimeConfigError: lists all faults.
        """
        fields: dict[str, Any] = {
            field_of(name): value
            for name, value in self._variables.items()
            if name.startswith("PERAGO_") and name not in _DIRECTORIES
        }
        fields["worker_id_prefix"] = self._worker_id_prefix(module_target)
        for name, default in _DIRECTORIES.items():
            fields[field_of(name)] = self._directory(name, default)
        probe = partial(probe_root, parents_are_trusted=fields.get("root_parents") == "trusted")
        for name in probed:
            if fields[field_of(name)] is not None:
                self._attempt(name, probe, fields[field_of(name)])
        fields |= {"conductor": self._conductor(), "lakefs": self._lakefs(), **self._telemetry()}
        fields["origins"] = self._origins(LAKEFS_URL, *CREDENTIALS)
        fields["refused"] = self.refused
        fields["passed_over"] = tuple(source.passed_over for source in self._sources if source.passed_over)
        if self.faults:
            raise RuntimeConfigError(_tell(self.faults))
        return RuntimeConfig(**fields)

    def secrets(self) -> Iterator[str]:
        """Credentials, also those that are withheld; secrets of other programs in the environment; and passwords in
        URLs of all sources."""
        yield from (str(self._variables[name]) for name in CREDENTIALS if name in self._variables)
        for source in self._sources:
            texts = {name: value for name, value in source.values.items() if isinstance(value, str)}
            yield from redaction.secrets_of_environment(texts)
        yield from redaction.secrets_of_environment(self._environment)

    def _check(self) -> tuple[dict[str, Any], frozenset[str]]:
        """The valid variables, and the names of the invalid ones."""
        try:
            return _set_variables(self._sources), frozenset()
        except ValidationError as exc:
            faults = {str(error["loc"][0]): error for error in exc.errors()}
            for name, error in faults.items():
                self._add(name, str(error.get("ctx", {}).get("error", error["msg"])))
            rest = [source.without(faults) for source in self._sources]
            return _set_variables(rest), frozenset(faults)

    def _add(self, name: str, fault: str) -> None:
        self.faults.append(f"{name} ({origin_of(name, self._sources)}) {fault}")

    def _attempt(self, name: str, read: Callable[..., Any], *arguments: object) -> Any:
        try:
            return read(*arguments)
        except ValueError as exc:
            self._add(name, str(exc))
            return None

    def _directory(self, name: str, default: Callable[[Mapping[str, str]], Path]) -> Path | None:
        given = self._variables.get(name)
        found: Path | None
        if given is None:
            found = self._attempt(name, default, self._environment)
        else:
            found = self._attempt(name, resolve_root, self._cwd, given)
        return found

    def _worker_id_prefix(self, module_target: str) -> str:
        given = self._variables.get("PERAGO_WORKER_ID_PREFIX")
        prefix = given or "".join(char for char in module_target if char.isascii() and char.isalnum())
        if not prefix and "PERAGO_WORKER_ID_PREFIX" not in self._refused:
            self._add(
                "PERAGO_WORKER_ID_PREFIX",
                f"would be empty: {module_target!r} has no ASCII letter or digit; set it, or name a task module",
            )
        return prefix

    def _conductor(self) -> ConductorConfig | None:
        self._both_or_none(CONDUCTOR_KEY, CONDUCTOR_SECRET)
        url = self._variables.get(CONDUCTOR_URL)
        if url is None:
            self._needs(CONDUCTOR_KEY, CONDUCTOR_URL)
            return None
        if self._withholds(CONDUCTOR_URL, (CONDUCTOR_KEY, CONDUCTOR_SECRET)):
            return ConductorConfig(server_url=url)
        return ConductorConfig(
            server_url=url,
            auth_key=self._variables.get(CONDUCTOR_KEY),
            auth_secret=self._variables.get(CONDUCTOR_SECRET),
        )

    def _lakefs(self) -> LakeFSConfig | None:
        needed = (LAKEFS_URL, LAKEFS_TOKEN) if self._uses_token() else _LAKEFS
        if self._is_only_in_lakectl(needed):
            return None
        self._all_or_none("lakeFS", needed)
        values = {DECLARED[name].field: self._variables.get(name) for name in needed}
        if None in values.values():
            return None
        file = self._variables.get("LAKECTL_CONFIG_FILE")
        if self._withholds(LAKEFS_URL, needed[1:]):
            return LakeFSConfig(endpoint_url=self._variables[LAKEFS_URL], config_file=file)
        return LakeFSConfig(**values, config_file=file)

    def _withholds(self, server: str, keys: Sequence[str]) -> bool:
        """Whether credentials must not go to a server, because only a project's file names it, and they are not of that
        file. Notes the reason.

        Args:
            server: variable of its URL.
            keys: variables of the credentials.
        """
        naming = self._sources[self._rank(server)]
        outside = [name for name in keys if name in self._variables and self._sources[self._rank(name)] is not naming]
        url = self._variables[server]
        if not naming.of_project or not outside or self._is_named_by_user(url):
            return False
        if is_allowed(self._cwd, url, self._environment):
            return False
        names = ", ".join(f"{name} ({origin_of(name, self._sources)})" for name in outside)
        self.refused[server] = refusal(names, server, naming.origin(server), url, self._cwd)
        return True

    def _is_named_by_user(self, url: str) -> bool:
        """Whether a file of the user's own names the server, too."""
        found = (*self._sources, lakectl_source(self._sources, self._cwd, self._environment))
        named = (first([source], LAKEFS_URL) for source in found if not source.of_project)
        return server_of(url) in {server_of(own) for own in named if own is not None}

    def _uses_token(self) -> bool:
        """Whether a session token comes from no weaker source than the access key."""
        if not self._is_given(LAKEFS_TOKEN):
            return False
        keys = (self._rank(name) for name in (LAKEFS_KEY_ID, LAKEFS_SECRET) if self._is_given(name))
        return self._rank(LAKEFS_TOKEN) <= min(keys, default=len(self._sources))

    def _rank(self, name: str) -> int:
        return next(rank for rank, source in enumerate(self._sources) if name in source.values)

    def _is_only_in_lakectl(self, needed: Sequence[str]) -> bool:
        """Whether lakectl's file has a part of what lakeFS needs, and no other source has any. Perago then has no
        lakeFS server: the file may be for a login that Perago does not know, and its user may not want lakeFS here.
        """
        given = [name for name in needed if self._is_given(name)]
        if len(given) == len(needed) or not all(self._sources[self._rank(name)].keys == LAKECTL_KEYS for name in given):
            return False
        if given:
            missing = ", ".join(f"`{LAKECTL_KEYS[name]}`" for name in needed if name not in given)
            _warn(f"{self._sources[-1].label} has no {missing}, so that no lakeFS server is configured")
        return True

    def _origins(self, *names: str) -> dict[str, Origin]:
        return {name: self._sources[self._rank(name)].place(name) for name in names if name in self._variables}

    def _telemetry(self) -> dict[str, Any]:
        """By OpenTelemetry's rules, a variable for one signal overrides the one for all."""
        if self._variables.get("PERAGO_PROMETHEUS") == "on" and not self._is_given("PERAGO_HEALTH_ADDRESS"):
            self._add(
                "PERAGO_PROMETHEUS", "is on, but PERAGO_HEALTH_ADDRESS, the address of the metrics, is not set; set it"
            )
        get = self._variables.get
        metrics = self._receiver("METRICS")
        if metrics is not None:
            metrics |= {
                "instance_id": get("PERAGO_INSTANCE_ID"),
                "export_interval_millis": get("OTEL_METRIC_EXPORT_INTERVAL"),
            }
        traces = self._receiver("TRACES")
        return {
            "telemetry_disabled": self._is_telemetry_disabled(),
            "metrics": None if metrics is None else MetricsConfig(**metrics),
            "traces": None if traces is None else TracesConfig(**traces),
        }

    def _receiver(self, signal: str) -> dict[str, Any] | None:
        """Receiver and options of a signal; None if it is not sent."""
        get = self._variables.get
        naming = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
        endpoint = get(naming)
        if endpoint is None and (base := get("OTEL_EXPORTER_OTLP_ENDPOINT")) is not None:
            naming, endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT", base.rstrip("/") + f"/v1/{signal.lower()}"
        if endpoint is None or get(f"OTEL_{signal}_EXPORTER") == "none" or self._is_telemetry_disabled():
            return None
        self._withhold_headers(naming, signal)
        compression = get(f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION") or get("OTEL_EXPORTER_OTLP_COMPRESSION")
        return {
            "endpoint": endpoint,
            "compression": "gzip" if compression == "gzip" else None,
            "timeout_millis": get(f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT") or get("OTEL_EXPORTER_OTLP_TIMEOUT"),
        }

    def _withhold_headers(self, server: str, signal: str) -> None:
        """As `_withholds`, for the headers that OpenTelemetry's SDK reads from the environment."""
        naming, url = self._sources[self._rank(server)], self._variables[server]
        names = (f"OTEL_EXPORTER_OTLP_{signal}_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
        found = [f"{name} (the environment)" for name in names if self._environment.get(name)]
        if naming.of_project and found and not is_allowed(self._cwd, url, self._environment):
            self.refused[server] = refusal(found[0], server, naming.origin(server), url, self._cwd)

    def _is_telemetry_disabled(self) -> bool:
        return str(self._variables.get("OTEL_SDK_DISABLED")).lower() == "true"

    def _is_given(self, name: str) -> bool:
        return name in self._variables or name in self._refused

    def _needs(self, given: str, missing: str) -> None:
        if self._is_given(given) and not self._is_given(missing):
            self._add(given, f"is set, but {missing} is not; set both or neither")

    def _both_or_none(self, one: str, other: str) -> None:
        self._needs(one, other)
        self._needs(other, one)

    def _all_or_none(self, what: str, names: Sequence[str]) -> None:
        given = [name for name in names if self._is_given(name)]
        missing = [name for name in names if name not in given]
        if given and missing:
            found = ", ".join(f"{name} ({origin_of(name, self._sources)})" for name in given)
            self.faults.append(
                f"The {what} settings are incomplete: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
                f"missing, but {found} {'is' if len(given) == 1 else 'are'} set. Set all of them or none"
            )


def _set_variables(sources: Sequence[Source]) -> dict[str, Any]:
    """The checked variables of the sources, the strongest first.

    Raises:
        ValidationError: some are invalid.
    """
    checked = Variables.model_validate(dict(ChainMap(*(dict(source.values) for source in sources))))
    return {name: value for name in checked.model_fields_set if (value := getattr(checked, name)) is not None}


def _tell(faults: Sequence[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    return f"{len(faults)} settings are wrong:\n" + "\n".join(f"- {fault}" for fault in faults)
