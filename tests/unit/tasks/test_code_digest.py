"""The digest of a task's code: equal where the code is, wherever it lies; another one where it differs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from perago.tasks import code as code_module
from servers.machine import slowness

MODULE = """
from pydantic import BaseModel
from perago import task
class P(BaseModel):
    x: int = 0
@task(name='t', owner_email='t@example.org')
def build(params: P) -> P:
    known = lambda value: value in {1, 2, 3, "a", "b"} and value not in (1, ("a", 2))
    return params if known(params.x) else P()
"""

PRINT = "from perago.tasks.code import code_digest; print(code_digest(build.__perago_task__))"


def digest(folder, program=f"from app.tasks import build; {PRINT}", *options, **variables):
    """The digest as a fresh process in that folder comes to it."""
    command = [sys.executable, "-B", *(options or ("-c", program))]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60 * slowness()
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", done.stdout)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path):
    """A project with a package, in a folder of its own."""
    package = tmp_path / "here" / "app"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(MODULE)
    (package / "lib" / "rows.py").write_text("ROWS = 1\n")
    return tmp_path / "here"


def test_equal_code_has_one_digest_in_every_process_and_folder(project, tmp_path):
    elsewhere = tmp_path / "quite" / "elsewhere"
    shutil.copytree(project, elsewhere)
    assert digest(project) == digest(project) == digest(elsewhere)


@pytest.mark.parametrize(
    "change",
    [
        lambda app: (app / "tasks.py").write_text(MODULE + "# a comment\n"),
        lambda app: (app / "lib" / "rows.py").write_text("ROWS = 2\n"),
        lambda app: (app / "lib" / "more.py").write_text(""),
        lambda app: (app / "lib" / "rows.py").rename(app / "lib" / "lines.py"),
        lambda app: (app / "lib" / "rows.py").unlink(),
    ],
)
def test_a_change_anywhere_in_the_package_changes_the_digest(project, change):
    before = digest(project)
    change(project / "app")
    assert digest(project) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda project: (project / "app" / "notes.txt").write_text("x"),
        lambda project: (project / "beside.py").write_text("x = 1"),
        lambda project: ((project / "app" / "__pycache__").mkdir(), (project / "app/__pycache__/x.py").write_text("")),
        lambda project: (project / "app" / "lib" / "rows.py").touch(),
    ],
)
def test_what_is_no_source_of_the_package_does_not(project, change):
    before = digest(project)
    change(project)
    assert digest(project) == before


def test_content_cannot_move_from_one_file_to_the_next_unseen(project):
    (project / "app" / "a.py").write_text("x = 1\n")
    (project / "app" / "b.py").write_text("y = 2\n")
    before = digest(project)
    (project / "app" / "a.py").write_text("x = 1\ny = 2\n")
    (project / "app" / "b.py").write_text("")
    assert digest(project) != before


def test_a_package_without_init_counts_whole(project):
    (project / "app" / "__init__.py").unlink()
    before = digest(project)
    (project / "app" / "lib" / "rows.py").write_text("ROWS = 2\n")
    assert digest(project) != before


def test_a_single_module_counts_by_its_file(tmp_path):
    (tmp_path / "single.py").write_text(MODULE)
    program = f"from single import build; {PRINT}"
    before = digest(tmp_path, program)
    (tmp_path / "other.py").write_text("")
    assert digest(tmp_path, program) == before
    (tmp_path / "single.py").write_text(MODULE + "\n")
    assert digest(tmp_path, program) != before


def test_a_module_that_is_run_counts_as_the_one_that_is_imported(project, tmp_path):
    (project / "app" / "tasks.py").write_text(MODULE + f"if __name__ == '__main__':\n    {PRINT}\n")
    assert digest(project, "", "-m", "app.tasks") == digest(project)
    (tmp_path / "single.py").write_text(MODULE + f"if __name__ == '__main__':\n    {PRINT}\n")
    assert digest(tmp_path, "", "single.py") == digest(tmp_path, f"from single import build; {PRINT}")


def test_a_function_without_a_file_counts_by_what_it_does(tmp_path):
    """In processes whose hash seeds differ, so that sets are in another order."""
    seeds = ("1", "2", "3")
    same = {digest(tmp_path, "\n" * int(seed) + f"{MODULE}\n{PRINT}", PYTHONHASHSEED=seed) for seed in seeds}
    assert len(same) == 1
    assert digest(tmp_path, f"{MODULE.replace('else P()', 'else None')}\n{PRINT}") not in same


def test_a_package_in_two_places_counts_as_one_in_whatever_order_they_are_found(tmp_path):
    """Both places have a file of one name, of which the first is imported; both count."""
    for place in ("one", "two"):
        (tmp_path / place / "app").mkdir(parents=True)
        (tmp_path / place / "app" / "common.py").write_text(f"PLACE = {place!r}\n")
    (tmp_path / "one" / "app" / "tasks.py").write_text(MODULE)
    (tmp_path / "two" / "app" / "a.py").write_text("")
    program = f"import sys; sys.path[:0] = sys.argv[1:]; from app.tasks import build; {PRINT}"
    forth, back = (digest(tmp_path, "", "-c", program, *order) for order in (("one", "two"), ("two", "one")))
    assert forth == back
    (tmp_path / "two" / "app" / "common.py").write_text("PLACE = 'three'\n")
    assert digest(tmp_path, "", "-c", program, "one", "two") != forth


@pytest.mark.parametrize(("bound", "limit"), [("MAX_FILES", 2), ("MAX_BYTES", 100), ("MAX_ENTRIES", 2)])
def test_a_package_past_a_bound_counts_by_the_function_s_own_file(project, bound, limit):
    program = f"import perago.tasks.code as c; c.{bound} = {limit}; from app.tasks import build; {PRINT}"
    before = digest(project, program)
    (project / "app" / "lib" / "rows.py").write_text("ROWS = 2\n")
    assert digest(project, program) == before
    (project / "app" / "tasks.py").write_text(MODULE + "# a comment\n")
    assert digest(project, program) != before


def test_a_digest_is_read_once(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    import app.tasks

    definition = app.tasks.build.__perago_task__
    try:
        before = code_module.code_digest(definition)
        (project / "app" / "tasks.py").write_text("changed = True\n")
        assert code_module.code_digest(definition) == before
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "app"]:
            del sys.modules[name]
