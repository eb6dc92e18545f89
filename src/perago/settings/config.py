"""Every setting: name, reader, default and description.

A field of `RuntimeConfig` with a `Setting`, or with a choice of words, is set by the variable `PERAGO_` plus its name,
or by its name in `perago.toml`. The text below a field is published in the settings reference (`make docs`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from perago.errors import RuntimeConfigError
from perago.files.credentials import Credentials, Origin
from perago.settings import values
from perago.settings.user_directories import user_cache_directory
from perago.values.cache import RUN_CACHE_MODES, RunCacheMode
from perago.values.credentials import (
    CONDUCTOR_KEY,
    CONDUCTOR_SECRET,
    CONDUCTOR_URL,
    LAKEFS_KEY_ID,
    LAKEFS_SECRET,
    LAKEFS_TOKEN,
    LAKEFS_URL,
)
from perago.values.models import RUN_BRANCH_TTL_SECONDS


@dataclass(frozen=True)
class Setting:
    """Source of a field's value.

    Attributes:
        read: converts the text of a source. Its `ValueError` completes the sentence "<variable> ...".
        variable: the environment variable, if it is not `PERAGO_` plus the field's name.
    """

    read: Callable[[object], object]
    variable: str = ""


Text = Annotated[str | None, Setting(values.read_text)]
Directory = Annotated[Path, Setting(values.read_text)]
Size = Annotated[int, Setting(values.read_size)]
Count = Annotated[int | None, Setting(values.read_count)]
Duration = Annotated[timedelta, Setting(values.read_duration)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConductorConfig(_Config):
    """The Conductor server."""

    server_url: Annotated[str, Setting(values.read_url, CONDUCTOR_URL)]
    """URL of the server's API, such as `http://localhost:8080/api`."""
    auth_key: Annotated[str | None, Setting(values.read_secret, CONDUCTOR_KEY)] = None
    """ID of an access key, for a server that requires one. Set it together with the secret."""
    auth_secret: Annotated[SecretStr | None, Setting(values.read_secret, CONDUCTOR_SECRET)] = None
    """Secret of that access key."""


class LakeFSConfig(_Config):
    """The lakeFS server, and the access key or the session token to it."""

    endpoint_url: Annotated[str, Setting(values.read_url, LAKEFS_URL)]
    """URL of the lakeFS server. Set it together with an access key or a session token."""
    access_key_id: Annotated[str, Setting(values.read_secret, LAKEFS_KEY_ID)] = ""
    """ID of an access key."""
    secret_access_key: Annotated[SecretStr, Setting(values.read_secret, LAKEFS_SECRET)] = SecretStr("")
    """Secret of that access key."""
    session_token: Annotated[SecretStr | None, Setting(values.read_secret, LAKEFS_TOKEN)] = None
    """A token of a lakeFS login. It is used instead of an access key from the same place or a weaker one."""
    config_file: Annotated[str | None, Setting(values.read_text, "LAKECTL_CONFIG_FILE")] = None
    """The configuration file of `lakectl`. Default: `~/.lakectl.yaml`. Perago reads `server.endpoint_url` and, below
    `credentials`, `access_key_id`, `secret_access_key` and `session_token`."""


class MetricsConfig(_Config):
    """Where metrics are sent by OTLP over HTTP.

    Attributes:
        endpoint: URL for metrics.
        instance_id: identifies a worker. None generates one.
        compression: None for no compression.
        timeout_millis, export_interval_millis: None for OpenTelemetry's defaults.
    """

    endpoint: str
    instance_id: str | None = None
    compression: Literal["gzip"] | None = None
    timeout_millis: int | None = None
    export_interval_millis: int | None = None


class TracesConfig(_Config):
    """Where traces are sent by OTLP over HTTP.

    Attributes:
        endpoint: URL for traces.
        compression: None for no compression.
        timeout_millis: None for OpenTelemetry's default.
    """

    endpoint: str
    compression: Literal["gzip"] | None = None
    timeout_millis: int | None = None


class RuntimeConfig(_Config):
    """All settings of a process.

    `conductor`, `lakefs`, `metrics` and `traces` are None if they are not configured.

    Attributes:
        origins: sources of the servers' URLs and credentials, by variable.
        refused: why credentials do not go to a server, by the variable of its URL. They are withheld, because only a
            file of the current directory names that server, and the user has not allowed it.
        passed_over: the files of the current directory that do not count, with the reason.
    """

    repo: Text = None
    """The repository of commands without `--repo`, except `perago start`, and of calls from Python without `repo=`:
    `lakefs://NAME`, or the path of a bare git repository."""
    branch: Text = None
    """The branch of commands without `--branch`, and of calls from Python without `branch=`. Default: `main`, where a
    command has a default."""
    workspace_root: Directory
    """Directory for the directories of attempts. Each worker needs its own."""
    log_root: Directory
    """Directory of a worker's log files."""
    secrets_dir: Annotated[Path | None, Setting(values.read_text)] = None
    """Directory with a file for each credential, named like its variable, such as a mounted Kubernetes Secret. Default:
    none."""
    root_parents: Literal["checked", "trusted"] = "checked"
    """`checked` refuses roots and caches that another user could replace by writing to a parent directory. `trusted`
    does not check parent directories, nor who else could write the current directory and its files, for machines with
    one user, such as containers. Only in the environment."""
    log_file_max_size: Size = 100 * 1024**2
    """Size at which a log file is rotated, such as `100MB`."""
    log_retention: Duration = timedelta(days=30)
    """How long log files are kept, such as `30d`."""
    worker_id_prefix: Annotated[str, Setting(values.read_letters_and_digits)]
    """Prefix of worker IDs, in ASCII letters and digits. Default: `appfeatures` for `app.features`."""
    worker_id: Text = None
    """The worker's complete ID. Default: prefix, host, and a digest of the workspace root, the same at each start."""
    execution_mode: Literal["process", "thread"] = "process"
    """Whether a worker runs bodies in processes or in threads: `process` or `thread`."""
    body_start: Literal["fork", "spawn"] = "spawn" if sys.platform == "darwin" else "fork"
    """How the process of a body starts: `fork`, from a process that has loaded the task's module, or `spawn`, in a
    fresh interpreter, for libraries that do not survive a fork. Default: `fork`, on macOS `spawn`."""
    sandbox: Literal["enforce", "report", "off"] = "off"
    """What bodies may reach besides their workspace, where a task does not say it: `enforce` refuses all that was not
    laid out for them, `report` notes it, `off` does neither. See [What a body can reach](../sandbox.md)."""
    run_cache: Annotated[RunCacheMode | None, Setting(values.one_of(*RUN_CACHE_MODES))] = None
    """Which earlier results tasks with a cache may use: `proven`, those whose sandbox refused them everything else,
    `observed`, also those that were only seen to read nothing else, or `off`. Default: `observed` for runs here,
    `proven` for a worker on Linux, `observed` for others. See [Compute only what changed](../cache.md)."""
    free_tasks: Literal["warm", "forked"] = "warm"
    """Where a worker runs the bodies of tasks without a workspace: `warm`, one after the other in a permanent process,
    or `forked`, each in a process of its own."""
    workspace_gc_ttl: Duration = timedelta(days=1)
    """Age at which leftovers of killed attempts are removed if their owner is unknown."""
    workspace_gc_interval: Duration = timedelta(hours=1)
    """How often a worker looks for such leftovers."""
    run_branch_ttl: Duration = timedelta(seconds=RUN_BRANCH_TTL_SECONDS)
    """How long the branch of a transactional run is kept after the run began or last published to it, such as `7d`. It
    must exceed the longest task. A run without its branch cannot be resumed."""
    executor_max_attempts: Count = None
    """Attempts after which an executor is replaced. Default: no limit."""
    executor_max_memory: Annotated[int | None, Setting(values.read_size)] = None
    """Memory above which an executor is replaced after an attempt, such as `2GB`. Default: no limit."""
    shutdown_force_kill_after: Annotated[timedelta | None, Setting(values.read_duration_or_none)] = None
    """How long attempts may continue after SIGTERM. Default: `none`, until they are done."""
    failure_reason_max_length: Annotated[int, Setting(values.read_count)] = 500
    """Characters of a failure's reason that are reported."""
    cache_dir: Directory = Field(default_factory=user_cache_directory)
    """Directory of the host's object cache, preferably on the file system of the workspaces."""
    cache_max_size: Annotated[int, Setting(values.read_size_or_zero)] = 10 * 1024**3
    """Maximum size of the cache, such as `10GB`. `0` turns it off."""
    warm: Literal["on", "off"] = "on"
    """`on` leaves the files of an attempt that has completed for the next ones, which lay out only what differs. `off`
    lays out all files each time. See [Files that stay](../sizing.md#files-that-stay)."""
    warm_max_size: Annotated[int | None, Setting(values.read_size)] = None
    """Maximum size of the files that stay, below the workspace root, such as `50GB`. Default: a tenth of its file
    system."""
    fence: Literal["exact", "cooperative"] = "exact"
    """How the publish fence of a lakeFS branch works: `exact`, by a hook in the server, or `cooperative`, without."""
    checksums: Literal["md5", "opaque"] = "md5"
    """How lakeFS checksums are used. `md5` treats different content as damaged; `opaque` checks only the size."""
    instance_id: Text = None
    """Identifies this worker in metrics and traces. Default: the worker's ID."""
    health_address: Annotated[str | None, Setting(values.read_address)] = None
    """`host:port` at which a worker answers `/healthz` and `/readyz`. Default: none, it opens no port."""
    prometheus: Literal["on", "off"] = "off"
    """`on` also serves metrics at that address, as `/metrics`."""
    telemetry_disabled: bool = False
    conductor: ConductorConfig | None = None
    lakefs: LakeFSConfig | None = None
    metrics: MetricsConfig | None = None
    traces: TracesConfig | None = None
    origins: Mapping[str, Origin] = Field(default_factory=dict, repr=False, exclude=True)
    refused: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    passed_over: tuple[str, ...] = Field(default=(), repr=False, exclude=True)

    def lakefs_credentials(self) -> Credentials:
        """The credentials for lakeFS. Each call makes an object of its own, which reads files again when they change.

        Raises:
            RuntimeConfigError: lakeFS is not configured, or the credentials do not go to its server.
        """
        if self.lakefs is None:
            raise RuntimeConfigError(
                f"no lakeFS server is configured; set {LAKEFS_URL}, {LAKEFS_KEY_ID} and {LAKEFS_SECRET}"
            )
        self.expect_consent(LAKEFS_URL)
        lakefs = self.lakefs
        given = {
            LAKEFS_URL: lakefs.endpoint_url,
            LAKEFS_KEY_ID: lakefs.access_key_id,
            LAKEFS_SECRET: lakefs.secret_access_key.get_secret_value(),
            LAKEFS_TOKEN: "" if lakefs.session_token is None else lakefs.session_token.get_secret_value(),
        }
        return self._credentials(given, server=LAKEFS_URL)

    def conductor_credentials(self) -> Credentials | None:
        """The access key for Conductor, like `lakefs_credentials`; None without one.

        Raises:
            RuntimeConfigError: it does not go to this server.
        """
        self.expect_consent(CONDUCTOR_URL)
        conductor = self.conductor
        if conductor is None or conductor.auth_key is None or conductor.auth_secret is None:
            return None
        given = {CONDUCTOR_KEY: conductor.auth_key, CONDUCTOR_SECRET: conductor.auth_secret.get_secret_value()}
        return self._credentials(given)

    def expect_consent(self, *servers: str) -> None:
        """Check that nothing of the user's is withheld from servers, named by the variables of their URLs.

        Raises:
            RuntimeConfigError: it is; says how to allow the server.
        """
        for server in servers:
            if server in self.refused:
                raise RuntimeConfigError(self.refused[server])

    def _credentials(self, given: Mapping[str, str], server: str = "") -> Credentials:
        found = {name: value for name, value in given.items() if value}
        return Credentials(found, {name: self.origins[name] for name in found if name in self.origins}, server)

    def secrets(self) -> list[str]:
        """Values that no log or error may show: access keys and their ids."""
        found: list[str | SecretStr | None] = []
        if self.conductor is not None:
            found += [self.conductor.auth_key, self.conductor.auth_secret]
        if self.lakefs is not None:
            found += [self.lakefs.access_key_id, self.lakefs.secret_access_key, self.lakefs.session_token]
        return [each.get_secret_value() if isinstance(each, SecretStr) else each for each in found if each is not None]


_Compression = Annotated[str | None, Setting(values.one_of("gzip", "none"))]
_Exporter = Annotated[str | None, Setting(values.one_of("otlp", "none"))]
_Url = Annotated[str | None, Setting(values.read_url)]


class OtelVariables(_Config):
    """The variables of OpenTelemetry that Perago reads. They become `MetricsConfig` and `TracesConfig`."""

    OTEL_SDK_DISABLED: Text = None
    """`true` switches OpenTelemetry off."""
    OTEL_EXPORTER_OTLP_ENDPOINT: _Url = None
    """URL of an OTLP receiver for both signals. Metrics go to `/v1/metrics` below it, traces to `/v1/traces`."""
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: _Url = None
    """URL for metrics, used as it is."""
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: _Url = None
    """URL for traces, used as it is."""
    OTEL_METRICS_EXPORTER: _Exporter = None
    """`none` sends no metrics. Default: `otlp`."""
    OTEL_TRACES_EXPORTER: _Exporter = None
    """`none` sends no traces. Default: `otlp`."""
    OTEL_EXPORTER_OTLP_COMPRESSION: _Compression = None
    """`gzip` or `none`. Default: `none`."""
    OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: _Compression = None
    """The same, for metrics only."""
    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: _Compression = None
    """The same, for traces only."""
    OTEL_EXPORTER_OTLP_TIMEOUT: Count = None
    """Milliseconds for one export. OpenTelemetry's default is 10000."""
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: Count = None
    """The same, for metrics only."""
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: Count = None
    """The same, for traces only."""
    OTEL_METRIC_EXPORT_INTERVAL: Count = None
    """Milliseconds between two exports of metrics. OpenTelemetry's default is 60000."""
