"""The pages of a run or a commit as one file that leads nowhere else: `perago report`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from perago import __version__
from perago.asking.past import Past
from perago.errors import BranchNotFoundError, RunNotFoundError
from perago.ports import CommitEntry
from perago.ui.commit import CommitPage, FilePage, commit_page, file_page, thumbnail
from perago.ui.render import SHORT_COMMIT, environment, plain, url
from perago.ui.results import ResultsPage, ResultsQuestion, plot, publications
from perago.ui.run import RunPage, run_page
from perago.ui.series import SeriesPage, series_page
from perago.ui.source import Source
from perago.values.names import show_name
from perago.values.redaction import mask_json

MAX_COMMITS = 30
"""Commits of a run, the newest ones."""

MAX_LOOKED_AT = 1_500
"""Commits that are looked at for them."""

MAX_PREVIEWS = 24
"""Files with a preview, shared by the commits."""

MAX_PREVIEW_BYTES = 4 * 1024**2
"""Of all previews. Files for which nothing is left have none."""

MAX_TASKS = 6
MAX_PLOTS = 3
"""Tasks whose results are plotted, and numbers and series of each."""

_NOWHERE = "#none"
_STYLE = Path(__file__).parent / "static" / "style.css"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report has.

    Attributes:
        repository: its name; where it lies on this host is nothing to others.
        run: None for a commit whose run is not recorded on this host.
        series: what the bodies of the run recorded.
        commits: in the order in which they were made; more_commits: how many older ones are left out.
        files: those with a preview; more_files: how many changed ones have none.
        thumbnails: PNG images by commit and path.
        results: at least two points each.
        made: when.
    """

    title: str
    repository: str
    run: RunPage | None
    series: SeriesPage | None
    commits: Sequence[CommitPage]
    more_commits: int
    files: Sequence[FilePage]
    more_files: int
    thumbnails: Mapping[tuple[str, str], bytes]
    results: Sequence[ResultsPage]
    made: datetime


@dataclass(frozen=True)
class _Part:
    id: str
    name: str
    html: Markup


def report_of(source: Source, name: str | None = None) -> Report:
    """What a report on a run or a commit has.

    Args:
        name: the id of a run, a branch, a tag, a commit, or the beginning of its id. Default: the newest run on the
            branch of the source.

    Raises:
        RunNotFoundError: there is no run yet, or, without a repository, none of this name.
        RefNotFoundError: there is neither a run nor a commit of this name.
        EngineError, StoreError: the record or the history cannot be read.
    """
    run_id, meant = _meant(source, name)
    commits, older = ([meant], 0) if meant is not None else _commits_of(source, run_id)
    pages = [commit_page(source, commit) for commit in commits]
    run = None
    if run_id is not None and source.engine.version(run_id) is not None:
        run = replace(run_page(source, run_id), is_live=False)
    files, thumbnails = _files(source, pages)
    changed = sum(page.commit.added + page.commit.modified for page in pages)
    branch = (None if run is None else run.run.branch) or source.branch
    if run is not None:
        title = f"{run.run.task_name} {run.run.run_id}"
    elif meant is not None:
        title = f"{pages[0].commit.task_name or pages[0].commit.subject} {meant[:SHORT_COMMIT]}"
    else:
        title = f"Run {run_id}"
    return Report(
        title=title,
        repository=source.name.rstrip("/").rpartition("/")[2],
        run=run,
        series=None if run is None or run_id is None else series_page(source, run_id),
        commits=pages,
        more_commits=older,
        files=files,
        more_files=max(changed - len(files), 0),
        thumbnails=thumbnails,
        results=list(_results(source, branch, _tasks(run, pages))),
        made=datetime.now(UTC),
    )


def _meant(source: Source, name: str | None) -> tuple[str | None, str | None]:
    """The run that is meant, and, if only one commit of it is, that commit."""
    if name is None:
        newest = next(
            (run.run_id for run in source.runs() if source.address is None or run.branch == source.branch), None
        )
        if newest is not None:
            return newest, None
        if source.address is None:
            raise RunNotFoundError("there is no run yet to report on; `perago run` creates one")
    elif source.engine.version(name) is not None:
        return name, None
    elif source.address is None:
        raise RunNotFoundError(
            f"there is no run {show_name(name)} of a task without a workspace; name --repo for others"
        )
    with source.past() as past:
        if name is None:
            return newest_on(past, source.branch), None
        if past.newest_of_run(name) is not None:
            return name, None
        entry = past.entry(past.resolve(name))
        if entry is None:
            raise RunNotFoundError(f"{source.name} has no commit and no run {show_name(name)}")
        if entry.stamp is None:
            return None, entry.id
        return entry.stamp.logical_task[0], entry.stamp.completes or entry.id


def newest_on(past: Past, branch: str) -> str:
    """The run of the newest commit of a branch that a run has made."""
    for entry in islice(past.line(past.head(branch)), MAX_LOOKED_AT):
        if entry.stamp is not None:
            return entry.stamp.logical_task[0]
    raise RunNotFoundError(f"no run has published on branch {show_name(branch)} yet; name a commit to report on")


def _commits_of(source: Source, run_id: str | None) -> tuple[list[str], int]:
    """The newest publications of a run, oldest first, and how many older ones there are."""
    if source.address is None or run_id is None:
        return [], 0
    with source.past() as past:
        newest = past.newest_of_run(run_id)
        line = () if newest is None else islice(past.line(newest.id), MAX_LOOKED_AT)
        published = [entry for entry in line if _is_publication_of(entry, run_id)]
        found = list(dict.fromkeys(one.id for entry in published for one in (entry, *past.by_tasks(entry))))
    return found[:MAX_COMMITS][::-1], max(len(found) - MAX_COMMITS, 0)


def _is_publication_of(entry: CommitEntry, run_id: str | None) -> bool:
    return entry.stamp is not None and entry.stamp.logical_task[0] == run_id and entry.stamp.completes is None


def _files(source: Source, pages: Sequence[CommitPage]) -> tuple[list[FilePage], dict[tuple[str, str], bytes]]:
    """The previews of changed files, and those of them that are images."""
    files, thumbnails = list[FilePage](), dict[tuple[str, str], bytes]()
    left = MAX_PREVIEW_BYTES
    for page in pages:
        paths = [change.path for change in page.changes if change.change != "deleted"]
        for path in paths[: max(MAX_PREVIEWS // len(pages), 1)]:
            found = file_page(source, page.commit.commit, path)
            image = thumbnail(source, found.commit, path) if found.preview.kind == "image" else None
            size = len(found.preview.model_dump_json()) + len(image or b"")
            if size <= left and len(files) < MAX_PREVIEWS:
                left -= size
                files.append(found)
                if image is not None:
                    thumbnails[found.commit, path] = image
    return files, thumbnails


def _tasks(run: RunPage | None, pages: Sequence[CommitPage]) -> list[str]:
    """The tasks of a report, each once."""
    names = [page.commit.task_name for page in pages]
    if run is not None:
        names += [run.run.task_name, *(task.task_name for task in run.run.tasks)]
    return [name for name in dict.fromkeys(names) if name is not None]


def _results(source: Source, branch: str, tasks: Sequence[str]) -> Iterator[ResultsPage]:
    """The numbers of tasks over time."""
    if source.address is None:
        return
    for task in islice(tasks, MAX_TASKS):
        entries = list[CommitEntry]()
        with suppress(BranchNotFoundError), source.past() as past:
            entries, _ = publications(past, past.head(branch), task)
        question = ResultsQuestion(branch=branch, task=task)
        page = plot(question, (), entries)
        numbers = [name for name in page.fields if name.startswith("result.")]
        for name in [*numbers[:MAX_PLOTS], *page.series[:MAX_PLOTS]]:
            page = plot(replace(question, y=name), (), entries)
            if len(page.points) > 1 or page.curves is not None:
                yield page


def report_html(report: Report) -> str:
    """A report as one file: no address leads out of it, it needs no script, and none runs."""
    places = _places(report)
    style = _STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    templates = environment(
        url=lambda path, /, **query: places.get(url("", path, **query), _NOWHERE),
        first="report",
        is_report=True,
        repository=report.repository,
        version=__version__,
    )

    def part(identity: str, name: str, template: str, page: object) -> _Part:
        data = mask_json(plain(page))
        html = templates.get_template(template).render(page=data, path="", query={}, nonce="")
        return _Part(identity, name, Markup(html.replace(f' href="{_NOWHERE}"', "")))  # noqa: S704 - a template's, escaped

    parts = [] if report.run is None else [part("run", report.run.run.task_name, "run.html", report.run)]
    if report.series is not None and report.series.plots:
        parts.append(part("series", "Recorded numbers", "series.html", report.series))
    for number, result in enumerate(report.results):
        name = f"{result.y} of {result.question.task} over time"
        parts.append(part(f"result-{number}", name, "results.html", result))
    for commit in report.commits:
        name = commit.commit.task_name or commit.commit.subject
        parts.append(part(_commit_id(commit.commit.commit), f"Commit of {name}", "commit.html", commit))
        for number, file in enumerate(report.files):
            if file.commit == commit.commit.commit:
                parts.append(part(f"file-{number}", file.path, "file.html", file))
    head = {"title": report.title, "repository": report.repository, "made": report.made}
    counts = {"more_commits": report.more_commits, "more_files": report.more_files}
    return templates.get_template("report.html").render(
        page=mask_json(plain({**head, **counts})),
        parts=[_Part(one.id, mask_json(plain(one.name)), one.html) for one in parts],
        policy=policy,
        style=Markup(f"<style>{style}</style>"),  # noqa: S704 - of ours
    )


def _places(report: Report) -> dict[str, str]:
    """Where each address of the page is in a report."""
    found = {} if report.run is None else {url("", f"/run/{report.run.run.run_id}"): "#run"}
    for page in report.commits:
        found[url("", f"/commit/{page.commit.commit}")] = f"#{_commit_id(page.commit.commit)}"
    for number, file in enumerate(report.files):
        found[url("", f"/commit/{file.commit}/file", path=file.path)] = f"#file-{number}"
        image = report.thumbnails.get((file.commit, file.path))
        if image is not None:
            address = url("", f"/commit/{file.commit}/thumbnail", path=file.path)
            found[address] = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    for number, result in enumerate(report.results):
        found.setdefault(url("", "/results", task=result.question.task), f"#result-{number}")
    return found


def _commit_id(commit: str) -> str:
    return f"commit-{commit[:SHORT_COMMIT]}"
