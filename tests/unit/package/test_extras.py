"""What an extra brings is missing: that is said, with the extra's name, and the rest works."""

import subprocess
import sys

import pytest

ADAPTERS = [
    ("from perago.stores.lakefs import LakeFSStore", "aiohttp", "lakefs"),
    ("from perago.engines.conductor import ConductorEngine", "urllib3", "conductor"),
]


def run(program, without=("aiohttp", "urllib3")):
    hidden = f"import sys; sys.modules |= dict.fromkeys({without})\n"
    ran = subprocess.run(
        [sys.executable, "-c", hidden + program], capture_output=True, text=True, timeout=60, check=False
    )
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(("program", "package", "extra"), ADAPTERS)
def test_a_missing_extra_is_named(program, package, extra):
    code, said = run(program)
    assert code != 0
    assert f"RuntimeConfigError: the package {package} is required but not installed" in said
    assert f"pip install 'perago[{extra}]'" in said


@pytest.mark.parametrize(("program", "package", "extra"), ADAPTERS)
def test_an_adapter_needs_nothing_of_the_others_extra(program, package, extra):
    others = tuple(other for _, other, _ in ADAPTERS if other != package)
    assert run(program, others) == (0, "")


def test_a_command_says_it_as_a_matter_of_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PERAGO_CACHE_DIR", str(tmp_path))
    code, said = run("sys.argv = ['perago', 'log', '--repo', 'lakefs://songs']\nfrom perago.cli import main\nmain()")
    assert code == 2
    assert said.startswith("error: the package aiohttp is required")
    assert "perago[lakefs]" in said


def test_the_page_names_its_extra(tmp_path):
    program = "sys.argv = ['perago', 'ui', '--no-open']\nfrom perago.cli import main\nmain()"
    code, said = run(program, ("uvicorn", "jinja2"))
    assert code == 2
    assert said.startswith("error: the page needs uvicorn, jinja2")
    assert "perago[ui]" in said


def test_the_embedded_store_and_engine_do_without():
    assert run("import perago.stores.git, perago.engines.local, perago.cli\nfrom perago import task") == (0, "")


def test_each_command_is_there_without_them():
    told = "for name in _COMMANDS:\n    assert invoke([name, '--help']) == 0, name"
    assert run(f"from perago.cli.app import _COMMANDS, invoke\n{told}") == (0, "")


def test_a_git_repository_needs_neither(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "first.txt").write_text("1")
    for command in ("import source", "log", "export out"):
        arguments = [*command.split(), "--repo", "data.git", "--branch", "main"]
        code, said = run(
            f"import os\nos.chdir({str(tmp_path)!r})\nsys.argv = ['perago', *{arguments}]\n"
            "from perago.cli import main\nmain()"
        )
        assert code == 0, said
    assert (tmp_path / "out" / "first.txt").read_text() == "1"
