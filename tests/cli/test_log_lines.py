"""Each line that a body logs appears once, however its module has configured logging."""

from __future__ import annotations

import subprocess
import sys

import pytest

from servers.machine import slowness

PLACE = ("--repo", "data.git", "--branch", "main")

MODULE = """
import logging
import sys
from pathlib import Path
from pydantic import BaseModel
from rich.logging import RichHandler
from perago import Flow, TaskContext, WorkspaceSpec, task, workflow

{configured}
OWNER = "a@example.org"
log = logging.getLogger("app.part")

class Words(BaseModel):
    words: list[str] = []

@task(name="logs", owner_email=OWNER, workspace=WorkspaceSpec())
def logs(workspace: Path, params: Words, context: TaskContext) -> Words:
    {first}
    log.info("a line")
    log.warning("a warning")
    context.logger.info("counted", rows=3)
    return params

@workflow(name="flow", owner_email=OWNER)
def flow(flow: Flow) -> Words:
    return flow.run(logs)
"""

CONFIGURED = {
    "not at all": "",
    "on import": "logging.basicConfig(level=logging.INFO)",
    "for all levels": "logging.basicConfig(level=logging.DEBUG)",
    "to stdout": "logging.basicConfig(level=logging.INFO, stream=sys.stdout)",
    "on its own logger": "logging.getLogger('app').addHandler(logging.StreamHandler())",
    "to two": "logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(), RichHandler()])",
    "apart": "logging.basicConfig(level=logging.INFO); logging.getLogger('app').addHandler(logging.StreamHandler());"
    "logging.getLogger('app').propagate = False",
}
IN_THE_BODY = {"by its first line": "logging.info('first')", "in the body": CONFIGURED["on import"]}
LINES = ("a line", "a warning", "counted rows=3")


def module_of(repository, configured="", first=""):
    (repository.path / "logging_tasks.py").write_text(MODULE.format(configured=configured, first=first or "pass"))


def counts_of(text):
    return {line: text.count(line) for line in LINES}


ONCE = dict.fromkeys(LINES, 1)


@pytest.mark.parametrize(
    ("how", "target", "debug"),
    [
        *((how, "logs", ()) for how in CONFIGURED | IN_THE_BODY),
        *((how, "logs", ("--debug",)) for how in ("on import", "by its first line", "on its own logger")),
        *((how, "flow", ()) for how in ("on import", "by its first line")),
        ("on import", "flow", ("--debug",)),
    ],
)
def test_a_run_shows_it(repository, how, target, debug):
    module_of(repository, CONFIGURED.get(how, ""), IN_THE_BODY.get(how, ""))
    said = repository.run("run", f"logging_tasks:{target}", *PLACE, *debug)
    assert said.code == 0, said.err
    assert counts_of(said.err) == ONCE, said.err


@pytest.mark.parametrize("target", ["logs", "flow"])
@pytest.mark.parametrize("how", ["on import", "in the body"])
def test_a_script_that_runs_a_task_shows_it(repository, how, target):
    module_of(repository, CONFIGURED.get(how, ""), IN_THE_BODY.get(how, ""))
    code = f"import perago; perago.run('logging_tasks:{target}', repo='data.git', branch='main')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository.path,
        env=repository.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60 * slowness(),
    )
    assert counts_of(done.stdout + done.stderr) == ONCE, done.stdout + done.stderr


def test_lines_of_a_level_that_the_module_asks_for_are_shown(repository):
    module_of(repository, CONFIGURED["for all levels"], "log.debug('in detail')")
    said = repository.run("run", "logging_tasks:logs", *PLACE)
    assert said.err.count("DEBUG app.part: in detail") == 1, said.err


def test_a_log_file_of_the_module_has_each_line_once(repository):
    module_of(repository, f"logging.basicConfig(level=logging.INFO, filename={str(repository.path / 'log')!r})")
    assert repository.run("run", "logging_tasks:logs", *PLACE).code == 0
    assert counts_of((repository.path / "log").read_text()) == ONCE
