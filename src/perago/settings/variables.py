"""Every variable, its kind, and where it stands in a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from perago.settings import values

Text = Annotated[str, BeforeValidator(values.read_text)]
Url = Annotated[str, BeforeValidator(values.read_url)]
Size = Annotated[int, BeforeValidator(values.read_size)]
SizeOrZero = Annotated[int, BeforeValidator(values.read_size_or_zero)]
Count = Annotated[int, BeforeValidator(values.read_count)]
Duration = Annotated[timedelta, BeforeValidator(values.read_duration)]
KeyId = Annotated[str, BeforeValidator(values.read_secret)]
Compression = Annotated[str, BeforeValidator(values.one_of("gzip", "none"))]
Exporter = Annotated[str, BeforeValidator(values.one_of("otlp", "none"))]
Secret = Annotated[SecretStr, BeforeValidator(values.read_secret)]


class Variables(BaseSettings):
    """The variables by name, checked one by one. None: not set, and the default holds.

    A blank value is no value, and hides those of the sources below its own. The text below a variable is what the
    reference of settings says of it (`make docs`).
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, validate_default=False)

    PERAGO_WORKSPACE_ROOT: Text | None = None
    """Directory below which attempts make theirs; each worker needs one of its own."""
    PERAGO_LOG_ROOT: Text | None = None
    """Directory of a worker's log files."""
    PERAGO_ROOT_PARENTS: (
        Annotated[Literal["checked", "trusted"], BeforeValidator(values.one_of("checked", "trusted"))] | None
    ) = None
    """`checked` refuses roots and caches that another user could replace, who may write to a directory above them;
    `trusted` does not look above them: where nobody else uses the machine, as in a container."""
    PERAGO_LOG_FILE_MAX_SIZE: Size | None = None
    """How large a log file grows before the next one is begun; a size such as `100MB`."""
    PERAGO_LOG_RETENTION: Duration | None = None
    """How long log files are kept; a duration such as `30d`."""
    PERAGO_WORKER_ID_PREFIX: Annotated[str, BeforeValidator(values.read_letters_and_digits)] | None = None
    """ASCII letters and digits with which worker ids begin; by default `appfeatures` for `app.features`."""
    PERAGO_WORKER_ID: Text | None = None
    """The worker's whole id; by default made of prefix, host and process."""
    PERAGO_EXECUTION_MODE: (
        Annotated[Literal["process", "thread"], BeforeValidator(values.one_of("process", "thread"))] | None
    ) = None
    """Whether the bodies of a worker run in processes or in threads: `process` or `thread`."""
    PERAGO_BODY_START: Annotated[Literal["fork", "spawn"], BeforeValidator(values.one_of("fork", "spawn"))] | None = (
        None
    )
    """How the process of a body begins: `fork`, from one that has loaded the task's module, or `spawn`, in a fresh
    interpreter, for libraries that do not bear a fork; by default `fork`, and `spawn` on macOS."""
    PERAGO_FREE_TASKS: Annotated[Literal["warm", "forked"], BeforeValidator(values.one_of("warm", "forked"))] | None = (
        None
    )
    """Where a worker runs the bodies of tasks without a workspace: `warm`, one after the other in a process that goes
    on, or `forked`, each in a process of its own."""
    PERAGO_WORKSPACE_GC_TTL: Duration | None = None
    """Age at which what killed attempts left is removed, where nothing else tells that its owner is dead."""
    PERAGO_WORKSPACE_GC_INTERVAL: Duration | None = None
    """How often a worker looks for such leftovers; a duration."""
    PERAGO_EXECUTOR_MAX_ATTEMPTS: Count | None = None
    """Attempts after which an executor is replaced; by default no bound."""
    PERAGO_EXECUTOR_MAX_MEMORY: Size | None = None
    """Memory from which on an executor is replaced after an attempt; a size such as `2GB`; by default no bound."""
    PERAGO_SHUTDOWN_FORCE_KILL_AFTER: Annotated[timedelta | None, BeforeValidator(values.read_duration_or_none)] = None
    """How long attempts may go on after SIGTERM; a duration, or `none`: until they are done."""
    PERAGO_FAILURE_REASON_MAX_LENGTH: Count | None = None
    """Characters of a failure's reason that are reported."""
    PERAGO_CACHE_DIR: Text | None = None
    """Directory of the host's cache of objects; best on the file system of the workspaces."""
    PERAGO_CACHE_MAX_SIZE: SizeOrZero | None = None
    """What the cache may take on the disk; a size such as `10GB`, or `0`: nothing is kept."""
    PERAGO_FENCE: (
        Annotated[Literal["exact", "cooperative"], BeforeValidator(values.one_of("exact", "cooperative"))] | None
    ) = None
    """How the publish fence of a lakeFS branch is kept: `exact`, by a hook in the server, or `cooperative`, without."""
    PERAGO_CHECKSUMS: Annotated[Literal["md5", "opaque"], BeforeValidator(values.one_of("md5", "opaque"))] | None = None
    """How checksums of lakeFS are taken: `md5`, and other content is damaged, or `opaque`: only its size is checked."""
    PERAGO_INSTANCE_ID: Text | None = None
    """Tells this worker's metrics and traces from those of others; by default the worker's id."""
    PERAGO_HEALTH_ADDRESS: Annotated[str, BeforeValidator(values.read_address)] | None = None
    """`host:port` at which a worker answers `/healthz` and `/readyz`; by default it opens no port."""
    PERAGO_PROMETHEUS: Annotated[Literal["on", "off"], BeforeValidator(values.one_of("on", "off"))] | None = None
    """`on` serves metrics at that address, too, as `/metrics`."""

    CONDUCTOR_SERVER_URL: Url | None = None
    """URL of the server's API, such as `http://localhost:8080/api`."""
    CONDUCTOR_AUTH_KEY: KeyId | None = None
    """Id of an access key, for a server that asks for one; together with the secret."""
    CONDUCTOR_AUTH_SECRET: Secret | None = None
    """Secret of that access key."""

    LAKECTL_SERVER_ENDPOINT_URL: Url | None = None
    """URL of the lakeFS server; all three of these variables, or none."""
    LAKECTL_CREDENTIALS_ACCESS_KEY_ID: KeyId | None = None
    """Id of an access key."""
    LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY: Secret | None = None
    """Secret of that access key."""

    OTEL_SDK_DISABLED: Text | None = None
    """`true` switches OpenTelemetry off."""
    OTEL_EXPORTER_OTLP_ENDPOINT: Url | None = None
    """URL of an OTLP receiver for both signals; metrics go to `/v1/metrics` below it, traces to `/v1/traces`."""
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: Url | None = None
    """URL to which metrics are sent as it stands."""
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: Url | None = None
    """URL to which traces are sent as it stands."""
    OTEL_METRICS_EXPORTER: Exporter | None = None
    """`none` sends no metrics; `otlp`, the other value, is the default."""
    OTEL_TRACES_EXPORTER: Exporter | None = None
    """`none` sends no traces; `otlp`, the other value, is the default."""
    OTEL_EXPORTER_OTLP_COMPRESSION: Compression | None = None
    """`gzip` or `none`, which is the default."""
    OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: Compression | None = None
    """The same, for metrics only."""
    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: Compression | None = None
    """The same, for traces only."""
    OTEL_EXPORTER_OTLP_TIMEOUT: Count | None = None
    """Milliseconds for one export; OpenTelemetry's default is 10000."""
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: Count | None = None
    """The same, for metrics only."""
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: Count | None = None
    """The same, for traces only."""
    OTEL_METRIC_EXPORT_INTERVAL: Count | None = None
    """Milliseconds between two exports of metrics; OpenTelemetry's default is 60000."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if not is_blank(value)}

    @field_validator("*", mode="before")
    @classmethod
    def _no_placeholder(cls, value: object) -> object:
        if isinstance(value, str) and values.PLACEHOLDER in value.lower():
            raise ValueError(f"still holds the placeholder '{values.PLACEHOLDER}'; put the real value there")
        return value


def is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def field_of(variable: str) -> str:
    """The name of a `PERAGO_` variable as a key, and as a field of `RuntimeConfig`."""
    return variable.removeprefix("PERAGO_").lower()


SECRETS = frozenset({"CONDUCTOR_AUTH_SECRET", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"})
"""Variables that no file under version control may hold."""

_IN_TABLES = {
    "CONDUCTOR_SERVER_URL": "conductor.server_url",
    "CONDUCTOR_AUTH_KEY": "conductor.auth_key",
    "CONDUCTOR_AUTH_SECRET": "conductor.auth_secret",
    "LAKECTL_SERVER_ENDPOINT_URL": "lakefs.endpoint_url",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "lakefs.access_key_id",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "lakefs.secret_access_key",
}
TOML_KEYS = {
    **{name: field_of(name) for name in Variables.model_fields if name.startswith("PERAGO_")},
    **_IN_TABLES,
}
"""Variable -> dotted key in `perago.toml` and `[tool.perago]`. OpenTelemetry's own stand in no TOML file."""
