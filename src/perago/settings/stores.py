"""What the settings say of stores: see `stores.provider.Host`. Only lakeFS has settings: see docs/adr/0062."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perago.errors import RuntimeConfigError
from perago.files.private_directory import fault_above
from perago.settings.config import RuntimeConfig
from perago.settings.load import load_run_config
from perago.settings.roots import check_cache
from perago.stores.lakefs.provider import KIND as LAKEFS
from perago.stores.lakefs.provider import lakefs_settings
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_URL
from perago.values.stores import StoreSettings

TO_CONFIGURE = (
    f"give --repo, or for a lakeFS server set {LAKEFS_URL}, {LAKEFS_KEY_ID} and {LAKEFS_SECRET} or run `lakectl config`"
)
"""How a store is chosen, for a message. The address of `--repo` says everything of any other store."""


def configured_store(config: RuntimeConfig) -> StoreSettings | None:
    """The store that the settings name; None if they name none.

    Raises:
        RuntimeConfigError: the credentials do not go to its server.
    """
    if config.lakefs is None:
        return None
    return lakefs_settings(
        config.lakefs_credentials(),
        fence=config.fence,
        checksums=config.checksums,
        cache_dir=config.cache_dir,
        cache_max_size=config.cache_max_size,
    )


@dataclass(frozen=True)
class SettingsHost:
    """See `stores.provider.Host`.

    Attributes:
        config: default: loaded when something is asked for.
    """

    config: RuntimeConfig | None = None

    def settings_of(self, kind: str) -> StoreSettings | None:
        return configured_store(self._config()) if kind == LAKEFS else None

    def expect_irreplaceable(self, path: Path, what: str, or_else: str = "") -> None:
        try:
            fault = fault_above(path)
        except OSError as exc:
            raise RuntimeConfigError(f"{what} {path} cannot be checked: {exc.strerror}") from exc
        if fault is None or self._config().root_parents == "trusted":
            return
        raise RuntimeConfigError(f"{what} {path} {fault}{or_else}")

    def check_cache(self) -> None:
        check_cache(self._config())

    def _config(self) -> RuntimeConfig:
        return load_run_config("perago", probe_workspace_root=False) if self.config is None else self.config
