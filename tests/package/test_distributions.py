"""What is in the wheel and in the sdist, and what they say of themselves."""

from __future__ import annotations

import subprocess

import perago
from package_support import PROJECT, Distributions


def _tracked(*patterns: str) -> set[str]:
    told = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--", *patterns],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name for name in told.split("\0") if name and (PROJECT / name).exists()}


def test_the_wheel_has_the_package_and_nothing_else(distributions):
    names = set(distributions.in_wheel())
    about = f"perago-{perago.__version__}.dist-info"
    assert _tracked("src/perago") <= {f"src/{name}" for name in names}
    assert {name.split("/")[0] for name in names} == {"perago", about}
    assert "perago/py.typed" in names
    assert f"{about}/licenses/LICENSE" in names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_sdist_has_all_that_a_clone_has_but_its_git_files(distributions):
    assert distributions.in_sdist() - {"PKG-INFO", ".gitignore"} >= _tracked() - {".gitignore"}


def test_the_sdist_builds_the_same_wheel(distributions, tmp_path):
    project = distributions.unpack_sdist(tmp_path)
    again = Distributions.build(project, tmp_path / "dist")
    assert again.wheel.name == distributions.wheel.name
    assert again.in_wheel() == distributions.in_wheel()


def test_the_metadata_says_what_an_index_shows(distributions):
    metadata = distributions.metadata()
    assert metadata["Name"] == "perago"
    assert metadata["Version"] == perago.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "src/perago/ui/static/LICENSE.htmx"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {"lakefs", "conductor", "otel", "lineage", "ui", "all"}
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (PROJECT / "README.md").read_text()


def test_the_version_has_one_place():
    told = subprocess.run(
        ["git", "-c", "safe.directory=*", "grep", "-lF", perago.__version__, "--", "src", "pyproject.toml"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told == ["src/perago/_version.py"]
