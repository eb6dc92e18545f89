"""`perago run` with something wrong about what it was given: exit code 2, and nothing changed."""

from __future__ import annotations

import pytest

REPO = ("--repo", "data.git", "--branch", "main")
DEEP = '{"text": ' + "[" * 900 + "]" * 900 + "}"
DEEPER = "[" * 5000 + "]" * 5000


@pytest.fixture
def untouched(repository, perago):
    """After the test: no commit, no run and no workspace was made."""
    head = repository.head()
    yield repository
    assert repository.head() == head
    assert perago("runs", "--repo", "data.git", "--json").json == []
    assert perago("runs", "--json").json == []
    assert not repository.workspace_root.exists() or list(repository.workspace_root.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'MODULE[:FUNCTION]'"),
        (("cli_nowhere", *REPO), "there is no module 'cli_nowhere'"),
        (("cli_bodies", *REPO), "cli_bodies:add, cli_bodies:count"),
        (("cli_bodies:nothing", *REPO), "has no 'nothing'; its tasks are"),
        (("cli_single",), "Missing option '--repo'"),
        (
            ("cli_single", "--repo", "data.git"),
            "Missing option '--branch': the branch that the task updates. Existing: 'main'",
        ),
        (("cli_single", "--repo", "nowhere.git", "--branch", "main"), "Create one with `perago import DIR --repo"),
        (("cli_single", "--repo", "source", "--branch", "main"), "is not a git repository"),
        (("cli_single", "--repo", "lakefs://data", "--branch", "main"), "set LAKECTL_SERVER_ENDPOINT_URL"),
        (("cli_single", "--repo", "data.git", "--branch", "nope"), "has no branch 'nope'; it has 'main'. Create it"),
        (("cli_single", *REPO, "--ref", "ffffffffff"), "there is no commit 'ffffffffff'"),
        (("cli_single", *REPO, "--params", "{"), "--params is not JSON"),
        (("cli_single", *REPO, "--params", DEEP), "--params is nested more than 200 deep"),
        (("cli_single", *REPO, "--params", DEEPER), "--params is nested more than 200 deep"),
        (("cli_single", *REPO, "--param", f"text={DEEPER}"), "--param text is nested more than 200 deep"),
        (("cli_workflow:plain", *REPO, "--params", DEEP), "--params is nested more than 200 deep"),
        (("cli_single", *REPO, "--params", "{}", "--params", '{"text": "a"}'), "--params is given more than once"),
        (("cli_workflow:plain", *REPO, "--dry-run"), "`perago status` shows what a run would compute"),
        (
            ("cli_workflow:plain", *REPO, "--timeout", "5"),
            "--timeout is for one task: each task of a workflow has",
        ),
        (("cli_single", *REPO, "--params", "@nowhere.json"), "nowhere.json cannot be read"),
        (("cli_single", *REPO, "--param", "text"), "--param takes key=value"),
        (
            ("cli_bodies:add", "--param", "numbers=[1]", "--branch", "main"),
            "has no workspace; leave --branch and --ref out",
        ),
        (("cli_single", *REPO, "--retries", "-1"), "--retries"),
        (("cli_single", *REPO, "--params", "source/other.txt"), "for one in a file; did you mean '@source/other.txt'?"),
        (("cli_single", *REPO, "--timeout", "0"), "--timeout"),
        (("cli_single", *REPO, "--timeout", "nan"), "'nan' is not a number of seconds above 0, such as"),
        (("cli_single", *REPO, "--timeout", "1m"), "'1m' is not a number of seconds above 0, such as 90 or 0.5"),
        (("cli_single", *REPO, "--timeout", "inf"), "'inf' is not a number of seconds"),
        (("cli_single", *REPO, "--workspace-root", "."), "--workspace-root is "),
        (("cli_single", *REPO, "--workspace-root", "source/other.txt"), "which cannot be written"),
        (("cli_single", *REPO, "--debug", "--timeout", "5"), "--debug cannot be used with --timeout"),
        (("cli_single", *REPO, "--dry-run", "--retries", "2"), "--dry-run cannot be used with --retries"),
        (("cli_bodies:add", "--param", "numbers=[1]", "--dry-run"), "has no workspace and publishes nothing anyway"),
        (("cli_single", *REPO, "--resume", "x"), "--resume cannot be used with --branch"),
        (("--resume", "20260101-000000-abcdef", "--repo", "data.git"), "there is no run '20260101-000000-abcdef'"),
        (("--resume", "../x"), "there is no run '../x' among the tasks without a workspace. Give --repo"),
    ],
)
def test_what_is_wrong_exits_with_2_and_says_how_to_mend_it(untouched, perago, arguments, said):
    done = perago("run", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_params_that_do_not_validate_are_told_all_at_once_with_their_paths(untouched, perago):
    said = perago("run", "cli_bodies:add", "--params", '{"numbers": ["x", 1, "y"], "label": 5}')
    assert said.code == 2
    for path in ("params.numbers.0", "params.numbers.2", "params.label"):
        assert path in said.err


@pytest.mark.parametrize("levels", [900, 5000])
def test_a_definition_or_params_in_a_file_that_are_nested_too_deeply_are_refused(untouched, perago, levels):
    deep = untouched.path / "deep.json"
    inner = "[" * levels + "]" * levels
    deep.write_text(f'{{"text": {inner}}}')
    said = perago("run", "cli_single", *REPO, "--params", f"@{deep}")
    assert said.code == 2
    assert "error: --params is nested more than 200 deep" in said.err
    deep.write_text(f'{{"name": "w", "tasks": [], "description": {inner}}}')
    for command in ("run", "check"):
        said = perago(command, str(deep), "--tasks", "cli_workflow")
        assert said.code == 2
        assert "JSON nested more than 400 deep" in " ".join(said.err.split())


def test_settings_that_are_wrong_stop_a_run(untouched, perago):
    (untouched.path / "perago.toml").write_text("failure_reason_max_length = 0\n")
    said = perago("run", "cli_single", *REPO)
    assert said.code == 2
    assert "PERAGO_FAILURE_REASON_MAX_LENGTH (`failure_reason_max_length` in perago.toml)" in said.err


def test_a_workspace_root_that_cannot_be_written_names_its_variable(untouched, perago, monkeypatch):
    monkeypatch.setenv("PERAGO_WORKSPACE_ROOT", str(untouched.path / "source" / "other.txt"))
    said = perago("run", "cli_single", *REPO)
    assert said.code == 2
    assert "PERAGO_WORKSPACE_ROOT (the environment) is" in said.err


def test_a_repository_with_a_work_tree_is_refused(untouched, perago):
    untouched.git("clone", "-q", str(untouched.repo), str(untouched.path / "clone"))
    said = perago("run", "cli_single", "--repo", "clone", "--branch", "main")
    assert said.code == 2
    assert "Give a bare one" in said.err


def test_a_module_whose_name_is_misspelt_is_told_the_one_that_is_there(untouched, perago):
    (untouched.path / "model.py").write_text("")
    said = perago("run", "modle", *REPO)
    assert said.code == 2
    assert said.err.startswith("error: there is no module 'modle'; did you mean 'model'? Python looked in ")
