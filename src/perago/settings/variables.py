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

    A blank value is no value, and hides those of the sources below its own.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, validate_default=False)

    PERAGO_WORKSPACE_ROOT: Text | None = None
    PERAGO_LOG_ROOT: Text | None = None
    PERAGO_LOG_FILE_MAX_SIZE: Size | None = None
    PERAGO_LOG_RETENTION: Duration | None = None
    PERAGO_WORKER_ID_PREFIX: Annotated[str, BeforeValidator(values.read_letters_and_digits)] | None = None
    PERAGO_WORKER_ID: Text | None = None
    PERAGO_EXECUTION_MODE: (
        Annotated[Literal["process", "thread"], BeforeValidator(values.one_of("process", "thread"))] | None
    ) = None
    PERAGO_WORKSPACE_GC_TTL: Duration | None = None
    PERAGO_WORKSPACE_GC_INTERVAL: Duration | None = None
    PERAGO_EXECUTOR_MAX_ATTEMPTS: Count | None = None
    PERAGO_EXECUTOR_MAX_MEMORY: Size | None = None
    PERAGO_SHUTDOWN_FORCE_KILL_AFTER: Annotated[timedelta | None, BeforeValidator(values.read_duration_or_none)] = None
    PERAGO_FAILURE_REASON_MAX_LENGTH: Count | None = None
    PERAGO_CACHE_DIR: Text | None = None
    PERAGO_CACHE_MAX_SIZE: SizeOrZero | None = None
    PERAGO_FENCE: (
        Annotated[Literal["exact", "cooperative"], BeforeValidator(values.one_of("exact", "cooperative"))] | None
    ) = None
    PERAGO_INSTANCE_ID: Text | None = None
    PERAGO_HEALTH_ADDRESS: Annotated[str, BeforeValidator(values.read_address)] | None = None
    PERAGO_PROMETHEUS: Annotated[Literal["on", "off"], BeforeValidator(values.one_of("on", "off"))] | None = None

    CONDUCTOR_SERVER_URL: Url | None = None
    CONDUCTOR_AUTH_KEY: KeyId | None = None
    CONDUCTOR_AUTH_SECRET: Secret | None = None

    LAKECTL_SERVER_ENDPOINT_URL: Url | None = None
    LAKECTL_CREDENTIALS_ACCESS_KEY_ID: KeyId | None = None
    LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY: Secret | None = None

    OTEL_SDK_DISABLED: Text | None = None
    OTEL_EXPORTER_OTLP_ENDPOINT: Url | None = None
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: Url | None = None
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: Url | None = None
    OTEL_METRICS_EXPORTER: Exporter | None = None
    OTEL_TRACES_EXPORTER: Exporter | None = None
    OTEL_EXPORTER_OTLP_COMPRESSION: Compression | None = None
    OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: Compression | None = None
    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: Compression | None = None
    OTEL_EXPORTER_OTLP_TIMEOUT: Count | None = None
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: Count | None = None
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: Count | None = None
    OTEL_METRIC_EXPORT_INTERVAL: Count | None = None

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
