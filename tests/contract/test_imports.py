"""What both stores make of a directory that a person imports."""

from __future__ import annotations

import pytest

from perago.errors import ObjectNameError, WorkspaceContentError
from perago.spec import WorkspaceSpec
from perago.stores.git import GitStore
from perago.testing.contract.bench import read_files
from servers.fixtures import repository_on
from servers.lakefs_hooks import store_on


@pytest.fixture(params=["git", "lakefs"])
def repository(request, tmp_path):
    if request.param == "git":
        yield GitStore.create(tmp_path / "data.git")
        return
    server = request.getfixturevalue("lakefs_server")
    with repository_on(server) as made, store_on(server) as store:
        yield store.repository(made.name)


@pytest.fixture
def source(tmp_path):
    """Makes a directory with files in it, each time another one."""

    def make(files):
        root = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        return root

    return make


@pytest.mark.parametrize("prefix", ["/", "p"])
@pytest.mark.parametrize(
    ("there", "given", "patterns"),
    [
        ({"logs/run.log": b"1", "logs/a": b"1"}, {"logs": b"2"}, {"exclude": ["**/*.log"]}),
        ({"logs": b"1", "in/a": b"1"}, {"logs/run": b"2"}, {"include": ["*/*"]}),
    ],
    ids=["a file over a directory", "a file below a file"],
)
def test_a_file_where_something_that_is_not_selected_stays_is_refused(
    repository, source, there, given, patterns, prefix
):
    head = repository.import_directory(source(there), "main", "first", spec=WorkspaceSpec(prefix=prefix))
    spec = WorkspaceSpec(prefix=prefix, **patterns)
    with pytest.raises((ObjectNameError, WorkspaceContentError), match="logs") as refused:
        repository.import_directory(source({**given, "in/more": b"2"}), "main", "second", spec=spec)
    assert "workspace" not in str(refused.value)
    assert repository.branch_head("main") == head


def test_a_prefix_that_begins_like_a_drive_is_one_as_any_other(repository, source, tmp_path):
    repository.import_directory(source({"a": b"1"}), "main", "first", spec=WorkspaceSpec(prefix="C:/x"))
    commit = repository.import_directory(source({"b": b"2"}), "main", "second", spec=WorkspaceSpec(prefix="C:/x"))
    repository.export(commit, "C:/x", tmp_path / "out")
    assert read_files(tmp_path / "out") == {"b": b"2"}
