"""What both stores make of a directory that a person imports."""

from __future__ import annotations

import pytest

from perago.errors import ObjectNameError, RefNotFoundError, WorkspaceContentError
from perago.stores.git import GitStore
from perago.testing.contract.bench import read_files
from perago.values.spec import WorkspaceSpec
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
        repository.import_directory(source({**given, "in/more": b"2"}), "main", "second", spec=spec, mirror=True)
    assert "workspace" not in str(refused.value)
    assert repository.branch_head("main") == head


@pytest.mark.parametrize("prefix", ["/", "p"])
def test_an_import_leaves_what_the_directory_does_not_have(repository, source, tmp_path, prefix):
    spec = WorkspaceSpec(prefix=prefix)
    repository.import_directory(source({"a": b"1", "in/b": b"1", "same": b"0"}), "main", "first", spec=spec)
    given = source({"in/b": b"2", "in/c": b"2", "same": b"0"})
    changes = repository.compare_directory(given, "main", spec=spec)
    assert (changes.added, changes.modified, changes.deleted) == (("in/c",), ("in/b",), ("a",))
    commit = repository.import_directory(given, "main", "second", spec=spec)
    repository.export(commit, prefix, tmp_path / "out")
    assert read_files(tmp_path / "out") == {"a": b"1", "in/b": b"2", "in/c": b"2", "same": b"0"}
    assert repository.import_directory(given, "main", "third", spec=spec) is None
    mirrored = repository.import_directory(given, "main", "fourth", spec=spec, mirror=True)
    repository.export(mirrored, prefix, tmp_path / "mirrored")
    assert read_files(tmp_path / "mirrored") == {"in/b": b"2", "in/c": b"2", "same": b"0"}


def test_a_comparison_reads_only(repository, source):
    given = source({"a": b"1", "large": bytes(1 << 20)})
    changes = repository.compare_directory(given, "other")
    assert (changes.added, changes.modified, changes.deleted) == (("a", "large"), (), ())
    assert repository.branch_head("other") is None
    head = repository.import_directory(given, "main", "first")
    (given / "large").write_bytes(b"1" + bytes((1 << 20) - 1))
    (given / "a").chmod(0o755)
    assert repository.compare_directory(given, "main").modified == ("a", "large")
    assert repository.branch_head("main") == head


@pytest.mark.parametrize(
    ("there", "given"), [({"d/a": b"1"}, {"d": b"2"}), ({"d": b"1"}, {"d/a": b"2"})], ids=["directory", "file"]
)
@pytest.mark.parametrize("patterns", [{}, {"include": ["**/*"]}], ids=["all", "include"])
def test_a_file_where_a_directory_stays_or_below_a_file_is_refused_and_mirror_is_told(
    repository, source, there, given, patterns
):
    head = repository.import_directory(source(there), "main", "first")
    spec = WorkspaceSpec(**patterns)
    made = source({**given, "in/more": b"2"})
    for call in (
        lambda: repository.import_directory(made, "main", "second", spec=spec),
        lambda: repository.compare_directory(made, "main", spec=spec),
    ):
        with pytest.raises((ObjectNameError, WorkspaceContentError), match="--mirror"):
            call()
    assert repository.branch_head("main") == head
    assert repository.import_directory(made, "main", "second", spec=spec, mirror=True) is not None


def test_a_prefix_that_begins_like_a_drive_is_one_as_any_other(repository, source, tmp_path):
    repository.import_directory(source({"a": b"1"}), "main", "first", spec=WorkspaceSpec(prefix="C:/x"))
    commit = repository.import_directory(
        source({"b": b"2"}), "main", "second", spec=WorkspaceSpec(prefix="C:/x"), mirror=True
    )
    repository.export(commit, "C:/x", tmp_path / "out")
    assert read_files(tmp_path / "out") == {"b": b"2"}
    assert repository.files(commit, "/") == ["C:/x/b"]
    assert repository.find_file(commit, "C:/x/b").read() == b"2"


def test_files_are_found_in_the_order_that_they_are_asked_for(repository, source):
    given = {f"many/{number}": b"x" * number for number in range(250)}
    commit = repository.import_directory(source({"a": b"1", "d/b": b"22", **given}), "main", "first")
    names = ["d/b", *given, "nowhere", "d", "d/", "/a", "a/b", "a"]
    found = list(repository.find_files(commit, names))
    assert [file and file.size for file in found] == [2, *range(250), *[None] * 5, 1]
    assert (found[0].read(), found[-1].read()) == (b"22", b"1")
    with pytest.raises(RefNotFoundError):
        list(repository.find_files("0" * len(commit), ["a"]))
