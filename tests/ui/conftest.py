"""A real browser, and `perago ui` on a repository whose every text is hostile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli_project import Project
from ui_pages import HOSTILE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODULE = """
import json
import time
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, MetricRecorder, MetricSpec, WorkspaceSpec, task, workflow

HOSTILE = {hostile!r}
REPORT = (
    "<style>h1 {{color: rgb(1, 2, 3)}}</style><h1>A report</h1><script>document.title = 'ran'; alert(6)</script>"
    "<img src=http://127.0.0.2/x onerror=alert(7)><meta http-equiv=refresh content='0;url=http://127.0.0.2/'>"
    "<a id=away href=http://127.0.0.2/>away</a> <a id=top target=_top href=http://127.0.0.2/>top</a>"
    "<a id=ours href=/>ours</a><form action=http://127.0.0.2/><button>send</button></form>"
    "<iframe src=http://127.0.0.2/></iframe><link rel=stylesheet href=http://127.0.0.2/>"
)
PLOT = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='20' onload='alert(8)'><script>alert(9)</script>"
    "<image href='http://127.0.0.2/y' width='9' height='9'/><rect width='40' height='20' fill='blue'/></svg>"
)


class Params(BaseModel):
    alpha: float = 0.5
    note: str = HOSTILE


class Score(BaseModel):
    score: float
    note: str = HOSTILE


class Item(BaseModel):
    item: str


class Items(BaseModel):
    items: list[str] = []


@task(name="train", owner_email="a@example.org", workspace=WorkspaceSpec(), metrics=MetricSpec())
def train(workspace: Path, params: Params, metrics: MetricRecorder) -> Score:
    for epoch in range(300):
        metrics.gauge("loss", params.alpha / (1 + epoch), step=epoch, labels={{"note": "<script>alert(5)</script>"}})
    (workspace / "out").mkdir(exist_ok=True)
    (workspace / "out" / "page.html").write_text("<script>alert(1)</script>")
    rows = ("<script>alert(1)</script>,n", f"<img src=x onerror=alert(2)>,{{params.alpha}}", "")
    (workspace / "out" / "table.csv").write_text("\\n".join(rows))
    (workspace / "out" / "data.json").write_text(json.dumps({{HOSTILE: [HOSTILE, params.alpha]}}))
    (workspace / "out" / "<img src=x onerror=alert(3)>.svg").write_text("<svg onload='alert(4)'/>")
    (workspace / "out" / "report.html").write_text(REPORT)
    (workspace / "out" / "plot.svg").write_text(PLOT)
    if params.alpha > 1:
        raise ValueError(f"alpha is {{params.alpha}} {{HOSTILE}}")
    return Score(score=1 / (1 + params.alpha))


@task(name="wait", owner_email="a@example.org")
def wait(params: Item) -> Items:
    print(f"waiting with {{params.item}}", flush=True)
    deadline = time.monotonic() + 300
    while not Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return Items(items=[params.item])


@workflow(name="pipeline", owner_email="a@example.org")
def pipeline(flow: Flow, params: Items) -> None:
    flow.map(wait, over=params.items, as_="item")
    with flow.parallel():
        flow.run(train)
        flow.run(wait, ref_="beside", item="x")
"""


@dataclass
class Shown:
    """The page, and the project that it shows.

    Attributes:
        address: opens the page once.
    """

    project: Project
    address: str
    base: str
    state: dict = field(default_factory=dict)


@pytest.fixture(scope="session")
def chromium():
    """The distribution's Chromium."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium; install the distribution's package")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


def made(path: Path) -> Project:
    """A project with runs that completed and failed, and commits of people."""
    path.mkdir()
    project = Project(path)
    project.write({"raw/a.txt": "1", "raw/plot.png": "no image"})
    (project.path / "shown.py").write_text(MODULE.format(hostile=HOSTILE))
    repo = ("--repo", "data.git", "--branch", "main")
    assert project.run("import", "source", *repo, "--message", f"By hand {HOSTILE}").code == 0
    for alpha in (0.5, 0.25):
        said = project.run("run", "shown:train", "--params", f'{{"alpha": {alpha}}}', *repo)
        assert said.code == 0, said.err
    assert project.run("run", "shown:train", "--params", '{"alpha": 2}', "--retries", "0", *repo).code == 1
    return project


@dataclass
class Server:
    """A started `perago ui`."""

    process: subprocess.Popen[str]
    address: str

    @property
    def base(self) -> str:
        return self.address.partition("/?")[0]


def served(
    project: Project, *options: str, repo: str = "data.git", env: dict[str, str] | None = None
) -> Iterator[Server]:
    """`perago ui` until the end of the test."""
    environment = {"PYTHONUNBUFFERED": "1", **(env or {})}
    process = project.start("ui", "--repo", repo, "--no-open", *options, env=environment)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert "/?token=" in address, process.stderr.read() if process.stderr else ""
        yield Server(process, address)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def shown(chromium, tmp_path_factory):
    """The page, opened: `state` has the cookie for further contexts of the browser."""
    project = made(tmp_path_factory.mktemp("ui") / "project")
    for server in served(project):
        found = Shown(project, server.address, server.base)
        context = chromium.new_context()
        page = context.new_page()
        page.goto(server.address)
        found.base = page.url.removesuffix("/runs")
        found.state.update(context.storage_state())
        context.close()
        yield found


@pytest.fixture
def another(shown):
    """The same project, served by another process."""
    yield from served(shown.project)


class Watched:
    """A tab that notes what no page may do: print an error, break the policy, open a dialog.

    Attributes:
        faults: what it has noted.
    """

    def __init__(self, page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", self._dialog)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', broken => console.error("
            "`broken: ${broken.effectiveDirective} ${broken.blockedURI}`))"
        )

    def _dialog(self, dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def tab(chromium, shown):
    """Opens tabs that have the cookie; each may be given options of its context."""
    contexts = []

    def open_tab(path: str = "/runs", **options):
        context = chromium.new_context(storage_state=shown.state, **options)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.goto(shown.base + path)
        return watched

    yield open_tab
    for context in contexts:
        context.close()
