"""The arguments of `perago run`, and which of them exclude each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import click

from perago.cli.output import note
from perago.running.repos.address import DEFAULT_BRANCH, configured_text


def _once(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> str | None:
    """The one value of an option. Of several, the last would win, although the first may have other params.

    Raises:
        UsageError
    """
    if len(given) > 1:
        raise click.UsageError("--params is given more than once. Put all params into one object, or add --param")
    return given[0] if given else None


params_option = click.option(
    "--params",
    metavar="JSON",
    multiple=True,
    callback=_once,
    help="The params: a JSON object, @FILE for one in a file, or - for stdin.",
)

pairs_option = click.option(
    "--param",
    "pairs",
    metavar="KEY=VALUE",
    multiple=True,
    help="One param, as JSON or text; overrides --params. Repeatable.",
)


def configured_repo() -> str | None:
    """The repository that the settings name, for a command without `--repo`. Tells which it is."""
    return configured_text("--repo ", "PERAGO_REPO", note)


def configured_branch() -> str | None:
    """As `configured_repo`, of the branch."""
    return configured_text("--branch ", "PERAGO_BRANCH", note)


def _needed_repo(context: click.Context, option: click.Parameter, value: str | None) -> str:
    """The given repository, or the configured one.

    Raises:
        MissingParameter
    """
    found = value if value is not None else configured_repo()
    if found is None:
        raise click.MissingParameter(ctx=context, param=option)
    return found


repo_or_none_option = click.option(
    "--repo",
    metavar="REPO",
    default=configured_repo,
    help="The repository.  [default: PERAGO_REPO, or the runs of tasks without a workspace]",
)
"""As `repo_option`, for commands that also show runs of tasks without a repository."""

repo_option = click.option(
    "--repo",
    metavar="REPO",
    callback=_needed_repo,
    help="The repository: lakefs://NAME, or the path of a bare git repository.  [default: PERAGO_REPO]",
)

branch_option = click.option(
    "--branch",
    metavar="NAME",
    default=lambda: configured_branch() or DEFAULT_BRANCH,
    help=f"The branch.  [default: PERAGO_BRANCH, or {DEFAULT_BRANCH}]",
)


A_COMMIT = "an id or its beginning, a branch, or a tag"
"""What names a commit."""


def refuse_run_branch(branch: str) -> None:
    """Refuse to commit to the branch of a transactional run.

    Raises:
        UsageError
    """
    from perago.values.models import outsiders_fault

    fault = outsiders_fault(branch)
    if fault is not None:
        raise click.UsageError(fault)


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """Arguments as given; see the command's help."""

    module: str | None = None
    params: str | None = None
    pairs: tuple[str, ...] = ()
    repo: str | None = None
    branch: str | None = None
    ref: str | None = None
    retries: int | None = None
    timeout: float | None = None
    workspace_root: str | None = None
    keep: bool = False
    dry_run: bool = False
    debug: bool = False
    resume: str | None = None
    onto_head: bool = False
    start: str | None = None
    yes: bool = False
    task_id: str | None = None
    jobs: int = 1
    fast_retries: bool = False
    no_cache: bool = False
    tasks: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    as_json: bool = False

    @property
    def has_params(self) -> bool:
        return self.params is not None or bool(self.pairs)

    def check(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            UsageError
        """
        if self.module is None and self.resume is None:
            raise click.UsageError("Missing argument 'MODULE[:FUNCTION]'.")
        if self.onto_head and self.resume is None:
            raise click.UsageError(
                "--onto-head repeats the run that --resume names. Leave it out: a new run starts from the branch's head"
            )
        if self.start is not None and self.resume is None:
            raise click.UsageError(
                "--from reruns a recorded workflow, starting at a given task. Name the run with --resume"
            )
        if self.yes and self.start is None:
            raise click.UsageError("--yes is for --from, which replaces what has been published")
        if self.start is not None and self.onto_head:
            raise click.UsageError(
                "--from keeps the results of the tasks before it, which --onto-head computes again. Leave one of them "
                "out"
            )
        if self.resume is not None:
            self._refuse_beside("--resume", {"--branch": self.branch, "--ref": self.ref})
        if self.task_id is not None:
            self._refuse_beside(
                "--task-id",
                {
                    "--params": self.params,
                    "--param": self.pairs or None,
                    "--branch": self.branch,
                    "--ref": self.ref,
                    "--retries": self.retries or None,
                    "--resume": self.resume,
                    "--no-cache": self.no_cache or None,
                },
            )
        if self.dry_run:
            self._refuse_beside(
                "--dry-run",
                {"--no-cache": self.no_cache or None, "--resume": self.resume, "--retries": self.retries or None},
            )
        if self.debug:
            self._refuse_beside("--debug", {"--timeout": self.timeout})

    def check_for_task(self) -> None:
        """Refuse options that are for a workflow.

        Raises:
            UsageError
        """
        for option, given in {"--fast-retries": self.fast_retries, "--from": self.start is not None}.items():
            if given:
                raise click.UsageError(f"{option} is for workflows, but this is a task")

    def check_for_workflow(self) -> None:
        """Refuse options that are for the run of one task.

        Raises:
            UsageError
        """
        if self.dry_run:
            raise click.UsageError(
                "--dry-run is for one task: the tasks of a workflow work on what those before them have published. "
                "`perago status` shows what a run would compute. To try the workflow, make a branch with `perago "
                "branch NEW` and run it with --branch NEW"
            )
        if self.timeout is not None:
            raise click.UsageError("--timeout is for one task: each task of a workflow has its own timeout")

    @staticmethod
    def _refuse_beside(option: str, others: dict[str, object]) -> None:
        given = [name for name, value in others.items() if value is not None]
        reasons = {
            "--resume": "it starts from the input of the run that it resumes",
            "--task-id": "it starts from the input of the task that it replays, and publishes nothing",
            "--dry-run": "nothing is recorded or published",
            "--debug": "the body runs in this process, so it cannot be stopped",
        }
        if given:
            raise click.UsageError(f"{option} cannot be used with {' or '.join(given)}: {reasons[option]}")


def seconds(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Read a number of seconds. "nan" is refused: it would be no limit at all.

    Raises:
        BadParameter
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{text!r} is not a number of seconds above 0, such as 90 or 0.5")
    return value


def check_workspace_root(given: str, *, parents_are_trusted: bool) -> Path:
    """The directory that `--workspace-root` names. It is created, and checked to be writable by this user alone.

    Raises:
        UsageError
    """
    from perago.settings import probe_root, resolve_root

    try:
        path = resolve_root(Path.cwd(), given)
        probe_root(path, parents_are_trusted=parents_are_trusted)
    except ValueError as exc:
        raise click.UsageError(f"--workspace-root {exc}") from None
    return path


def workspace_root_to_look_at(given: str | None) -> Path:
    """The workspace root to inspect. A configured one need not exist.

    Args:
        given: the directory that `--workspace-root` names. Default: the configured one.

    Raises:
        UsageError: the given directory does not exist, or another user can change it.
        RuntimeConfigError: the settings are wrong, or another user can change the configured directory.
    """
    from perago.errors import RuntimeConfigError
    from perago.settings import check_root, load_run_config, resolve_root

    config = load_run_config("perago", probe_workspace_root=False)
    parents_are_trusted = config.root_parents == "trusted"
    if given is None:
        try:
            check_root(config.workspace_root, parents_are_trusted=parents_are_trusted)
        except ValueError as exc:
            raise RuntimeConfigError(f"PERAGO_WORKSPACE_ROOT {exc}") from None
        return config.workspace_root
    try:
        path = resolve_root(Path.cwd(), given)
        if not path.is_dir():
            raise click.UsageError(f"--workspace-root is {path}, which does not exist")
        check_root(path, parents_are_trusted=parents_are_trusted)
    except ValueError as exc:
        raise click.UsageError(f"--workspace-root {exc}") from None
    return path
