"""The variables that `config` declares, by name, and the model that checks their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from perago.settings import values
from perago.settings.config import ConductorConfig, LakeFSConfig, OtelVariables, RuntimeConfig, Setting
from perago.values.credentials import CONDUCTOR_SECRET, LAKEFS_SECRET, LAKEFS_TOKEN

_TABLES: dict[str, type[BaseModel]] = {"conductor": ConductorConfig, "lakefs": LakeFSConfig}


@dataclass(frozen=True)
class Declared:
    """Declaration of a variable.

    Attributes:
        model, field: the model in `config`, and its field.
        setting: its reader.
        toml_key: dotted key in `perago.toml` and `[tool.perago]`, or "".
    """

    model: type[BaseModel]
    field: str
    setting: Setting
    toml_key: str


def _setting_of(field: FieldInfo) -> Setting | None:
    if get_origin(field.annotation) is Literal:
        return Setting(values.one_of(*get_args(field.annotation)))
    return next((found for found in field.metadata if isinstance(found, Setting)), None)


def _declared(model: type[BaseModel], prefix: str = "", table: str = "") -> Iterator[tuple[str, Declared]]:
    for name, field in model.model_fields.items():
        setting = _setting_of(field)
        if setting is not None:
            key = "" if model is OtelVariables else f"{table}{name}"
            yield setting.variable or f"{prefix}{name}".upper(), Declared(model, name, setting, key)


DECLARED: dict[str, Declared] = {
    **dict(_declared(RuntimeConfig, "PERAGO_")),
    **{
        variable: declared
        for table, model in _TABLES.items()
        for variable, declared in _declared(model, table=f"{table}.")
    },
    **dict(_declared(OtelVariables)),
}
"""By variable."""

ENVIRONMENT_ONLY = frozenset({"PERAGO_ROOT_PARENTS"})
"""Variables that switch off a check of this host. A project's files cannot set them."""

TOML_KEYS = {
    variable: declared.toml_key
    for variable, declared in DECLARED.items()
    if declared.toml_key and variable not in ENVIRONMENT_ONLY
}

SECRETS = frozenset({CONDUCTOR_SECRET, LAKEFS_SECRET, LAKEFS_TOKEN})
"""Variables that must not be in a committed file."""


class _Checked(BaseModel):
    """Treats a blank value as not set. It still hides the values of weaker sources."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=False)

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


_FIELDS: dict[str, Any] = {
    variable: (Annotated[Any, BeforeValidator(declared.setting.read)], None) for variable, declared in DECLARED.items()
}
Variables = create_model("Variables", __base__=_Checked, **_FIELDS)
"""The variables, checked one by one. None if not set, so that the default applies."""


def is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def field_of(variable: str) -> str:
    """The field of `RuntimeConfig` that a `PERAGO_` variable sets; also its key in `perago.toml`."""
    return DECLARED[variable].field
