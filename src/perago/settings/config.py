"""What the settings come to: frozen values, with their defaults."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from perago.settings.user_directories import user_cache_directory

DEFAULT_LOG_FILE_MAX_SIZE = 100 * 1024**2
DEFAULT_LOG_RETENTION = timedelta(days=30)
DEFAULT_CACHE_MAX_SIZE = 10 * 1024**3


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConductorConfig(_Config):
    """The Conductor server.

    Attributes:
        server_url: of its API, as in `http://localhost:8080/api`.
        auth_key, auth_secret: an access key, for a server that asks for one; both or none.
    """

    server_url: str
    auth_key: str | None = None
    auth_secret: SecretStr | None = None


class LakeFSConfig(_Config):
    """The lakeFS server, and the access key to it."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: SecretStr


class MetricsConfig(_Config):
    """Where metrics are sent by OTLP over HTTP.

    Attributes:
        endpoint: URL for metrics.
        instance_id: tells workers apart; None: made up.
        compression: None: none.
        timeout_millis, export_interval_millis: None: OpenTelemetry's defaults.
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
        compression: None: none.
        timeout_millis: None: OpenTelemetry's default.
    """

    endpoint: str
    compression: Literal["gzip"] | None = None
    timeout_millis: int | None = None


class RuntimeConfig(_Config):
    """Everything that a process of Perago is told from outside.

    Attributes:
        workspace_root: directory below which attempts make theirs.
        log_root: directory of the log files.
        root_parents: whether the directories above these two and the cache are checked, so that no other user can put
            another one in their place, or trusted.
        log_file_max_size: bytes of a log file before the next one is begun.
        log_retention: how long log files are kept.
        worker_id_prefix: ASCII letters and digits with which worker ids begin.
        worker_id: a worker id given whole; None: made from the prefix.
        execution_mode: whether executors are processes or threads.
        body_start: how the process of a body begins.
        free_tasks: where a worker runs the bodies of tasks without a workspace.
        workspace_gc_ttl: age at which an attempt directory without a living owner is removed.
        workspace_gc_interval: how often such directories are looked for.
        executor_max_attempts: after which an executor is replaced; None: no bound.
        executor_max_memory: bytes from which on it is, after an attempt; None: no bound.
        shutdown_force_kill_after: how long a shutdown waits for attempts; None: until they are done.
        failure_reason_max_length: characters of a failure's reason that are reported.
        cache_dir, cache_max_size: the host's cache of objects, and the bytes that it may take; 0: there is none.
        fence: whether the publish fence is the store's own compare-and-swap, or rests on all writers' cooperation.
        checksums: whether a lakeFS checksum that looks like an MD5 is held against the content, or only its size is.
        instance_id: tells this process's metrics and traces from others'; None: the worker's id does.
        health_address: `host:port` that a worker tells of itself on; None: it does not.
        prometheus: whether it serves metrics there too.
        telemetry_disabled: `OTEL_SDK_DISABLED`.
        conductor, lakefs, metrics, traces: None: not configured.
    """

    workspace_root: Path
    log_root: Path
    log_file_max_size: int
    log_retention: timedelta
    worker_id_prefix: str
    root_parents: Literal["checked", "trusted"] = "checked"
    worker_id: str | None = None
    execution_mode: Literal["process", "thread"] = "process"
    body_start: Literal["fork", "spawn"] = "spawn" if sys.platform == "darwin" else "fork"
    free_tasks: Literal["warm", "forked"] = "warm"
    workspace_gc_ttl: timedelta = timedelta(days=1)
    workspace_gc_interval: timedelta = timedelta(hours=1)
    executor_max_attempts: int | None = None
    executor_max_memory: int | None = None
    shutdown_force_kill_after: timedelta | None = None
    failure_reason_max_length: int = 500
    cache_dir: Path = Field(default_factory=user_cache_directory)
    cache_max_size: int = DEFAULT_CACHE_MAX_SIZE
    fence: Literal["exact", "cooperative"] = "exact"
    checksums: Literal["md5", "opaque"] = "md5"
    instance_id: str | None = None
    health_address: str | None = None
    prometheus: Literal["on", "off"] = "off"
    telemetry_disabled: bool = False
    conductor: ConductorConfig | None = None
    lakefs: LakeFSConfig | None = None
    metrics: MetricsConfig | None = None
    traces: TracesConfig | None = None

    def secrets(self) -> list[str]:
        """What no log or error may show: access keys, their ids too."""
        found: list[str | SecretStr | None] = []
        if self.conductor is not None:
            found += [self.conductor.auth_key, self.conductor.auth_secret]
        if self.lakefs is not None:
            found += [self.lakefs.access_key_id, self.lakefs.secret_access_key]
        return [each.get_secret_value() if isinstance(each, SecretStr) else each for each in found if each is not None]
