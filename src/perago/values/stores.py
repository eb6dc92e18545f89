"""Which store, and all that opens it, as plain data: a supervisor hands it to executors, and loads no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer


class StoreSettings(BaseModel):
    """The settings of one store. As JSON they are sent to executors only, with the secrets in clear.

    Attributes:
        kind: name of its provider; see `perago.stores.table`.
        values: what only its provider reads, as JSON.
        secrets: what no log or error may show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    values: dict[str, Any] = Field(default_factory=dict)
    secrets: dict[str, SecretStr] = Field(default_factory=dict)

    @field_serializer("secrets")
    def _reveal(self, secrets: dict[str, SecretStr]) -> dict[str, str]:
        return {name: secret.get_secret_value() for name, secret in secrets.items()}

    def revealed(self) -> dict[str, str]:
        """The secrets in clear, by name."""
        return self._reveal(self.secrets)


@dataclass(frozen=True)
class DatasetSource:
    """Where the data sets of a repository are, as OpenLineage names it; see docs/lineage-events.md.

    Attributes:
        namespace: of the repository.
        uri: of the server or the directory that has it.
    """

    namespace: str
    uri: str
