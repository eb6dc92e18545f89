"""Settings: environment over `.env` over `perago.toml` over `[tool.perago]` of pyproject.toml.

All faults are reported together, each with its variable and source. Secrets are never shown.
"""

from perago.settings.config import ConductorConfig, LakeFSConfig, MetricsConfig, RuntimeConfig, TracesConfig
from perago.settings.load import configured, load_run_config, load_runtime_config
from perago.settings.roots import check_cache, check_root, probe_root, resolve_root

__all__ = [
    "ConductorConfig",
    "LakeFSConfig",
    "MetricsConfig",
    "RuntimeConfig",
    "TracesConfig",
    "check_cache",
    "check_root",
    "configured",
    "load_run_config",
    "load_runtime_config",
    "probe_root",
    "resolve_root",
]
