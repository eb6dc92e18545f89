"""`perago report`: write a report on a run or a commit to one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from perago.cli.arguments import branch_option, repo_or_none_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, print_json, tell
from perago.running.repos.address import given_repository


@click.command()
@click.argument("name", metavar="[COMMIT|RUN]", required=False)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write; its name ends in .html.",
)
@repo_or_none_option
@branch_option
@json_option
def command(name: str | None, output: Path, repo: str | None, branch: str, as_json: bool) -> None:
    """Write a report on a run or a commit to one HTML file, to mail or to publish.

    \b
      perago report -o report.html --repo data.git              # the newest run on the branch
      perago report v1.2 -o report.html --repo data.git

    It has the tasks, params, results, changed files with previews, and the results over time. It loads nothing, and
    no script runs in it. An existing file is replaced.

    Needs the extra `ui`.
    """
    from perago.files.durable import write_whole
    from perago.ui import expect_extra

    if output.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"--output: {output} must end in .html")
    with before_start():
        expect_extra()
        from perago.ui.report import report_html, report_of
        from perago.ui.source import Source

        report = report_of(Source(given_repository(repo), branch), name)
        text = report_html(report)
    try:
        write_whole(output, text)
    except OSError as exc:
        raise click.UsageError(f"--output: {output} cannot be written: {exc.strerror}") from None
    if as_json:
        run = None if report.run is None else report.run.run.run_id
        commits = [page.commit.commit for page in report.commits]
        print_json({"output": str(output), "run": run, "commits": commits})
    else:
        tell(f"Wrote the report on {report.title} to {output}")
