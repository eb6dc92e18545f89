"""A project whose repository is on a real lakeFS server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli_project import Project
from servers.fixtures import LakeFS
from servers.lakefs_api import LakeFSRepository


class LakeFSProject(Project):
    """Commands run as in any project; what they did is looked at through plain HTTP."""

    def __init__(self, path: Path, server: LakeFS, repository: LakeFSRepository) -> None:
        super().__init__(path)
        self.server = server
        self.repository = repository
        self.address = f"lakefs://{repository.name}"
        self.on_main = ("--repo", self.address, "--branch", "main")

    @property
    def settings(self) -> dict[str, str]:
        """What names the server."""
        return {
            "LAKECTL_SERVER_ENDPOINT_URL": self.server.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": self.server.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.server.secret_access_key,
        }

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.settings

    def head(self, branch: str = "main") -> str:
        return self.repository.head(branch)

    def commit(self, ref: str) -> dict[str, Any]:
        found: dict[str, Any] = self.repository.expect("GET", f"/commits/{ref}")
        return found

    def parent(self, ref: str) -> str:
        return str(self.commit(ref)["parents"][0])

    def files(self, ref: str = "main", prefix: str = "") -> dict[str, str]:
        """What people put there: without the server's actions."""
        found = self.repository.files(ref, prefix)
        return {name: content.decode() for name, content in found.items() if not name.startswith("_lakefs_actions/")}

    def staging_branches(self) -> list[str]:
        return self.repository.branches("perago-", hidden=True)
