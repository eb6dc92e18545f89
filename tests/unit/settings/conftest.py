from __future__ import annotations

from pathlib import Path

import pytest

from perago import RuntimeConfig, RuntimeConfigError, load_runtime_config


class Settings:
    """A project directory with settings in it, of a user with a home directory."""

    def __init__(self, cwd: Path, home: Path) -> None:
        self.cwd = cwd
        self.home = home

    def write(self, **files: str) -> Settings:
        names = {"dotenv": ".env", "toml": "perago.toml", "pyproject": "pyproject.toml"}
        for name, text in files.items():
            (self.cwd / names[name]).write_text(text)
        return self

    def load(self, target: str = "app.features", *, probe_roots: bool = False, **environment: str) -> RuntimeConfig:
        environment = {"HOME": str(self.home), **environment}
        return load_runtime_config(target, cwd=self.cwd, process_env=environment, probe_roots=probe_roots)

    def fault(self, target: str = "app.features", *, probe_roots: bool = False, **environment: str) -> str:
        with pytest.raises(RuntimeConfigError) as caught:
            self.load(target, probe_roots=probe_roots, **environment)
        return str(caught.value)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "project").mkdir()
    return Settings(tmp_path / "project", tmp_path / "home")
