"""Stamps as trailers: git reads them, we read them back, and nobody's text is taken for one."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_support import make_execution
from perago.errors import StoreError
from perago.stores.git import GitStore
from perago.stores.git.history import compose, publication_subject, stamp_of, subject_of
from perago.stores.git.repository import BareRepository
from perago.values.models import Changes


def published(bench, **stamp):
    base = bench.import_files({"a": b"a"})
    return base, bench.publish_files(base, {"b": b"b"}, **stamp)


def stamp_at(bench, base):
    return bench.store.read_history(bench.input(base)).commits[0].stamp


def test_git_reads_the_stamp(bench):
    base, ref = published(bench, task="build.features", result={"rows": 3})
    trailers = dict(
        line.split(": ", 1)
        for line in bench.git("interpret-trailers", "--parse", text=bench.git("show", "-s", "--format=%B", ref)).split(
            "\n"
        )
    )
    assert trailers["Perago-Task"] == "build.features"
    assert trailers["Perago-Input-Ref"] == trailers["Perago-Expected-Head"] == base
    assert json.loads(trailers["Perago-Result"]) == {"rows": 3}
    assert bench.git("log", "-1", "--format=%(trailers:key=Perago-Task,valueonly)").strip() == "build.features"


def test_git_shows_who_did_what(bench):
    _, ref = published(bench, workflow_instance_id="wf-9", reference_task_name="step")
    assert bench.git("log", "-1", "--format=%s", ref) == "build: +1 ~0 -0 files"
    assert "Task step of workflow wf-9, try 1." in bench.git("show", ref)
    assert "+b" in bench.git("show", ref)


def test_a_commit_is_in_the_name_that_git_knows_or_in_peragos_own(bench):
    bench.git("config", "user.name", "Grace <Hopper>")
    bench.git("config", "user.email", "grace@example.org")
    _, ref = published(bench)
    assert bench.git("log", "-1", "--format=%an|%ae|%cn", ref) == "Grace Hopper|grace@example.org|Grace Hopper"


@pytest.mark.parametrize("task", ["ünïcode ☃", 'has "quotes"', "two\nlines", "Perago-Task: forged", "x" * 500, "--- a"])
def test_any_task_name_comes_back(bench, task):
    base, ref = published(bench, task=task, reference_task_name=task)
    assert stamp_at(bench, base).task == task
    assert bench.git("log", "-1", "--format=%s", ref).count("\n") == 0


def test_params_and_results_of_any_kind_come_back(bench):
    value = {"text": "line\n\nPerago-Task: forged\n---\n", "list": [1, None, {"a": 1.5}], "ünï": "☃"}
    base, _ = published(bench, params=value, result=value, worker="host 1\tpid", traceparent=None)
    stamp = stamp_at(bench, base)
    assert (stamp.params, stamp.result, stamp.worker, stamp.traceparent) == (value, value, "host 1\tpid", None)
    assert stamp.task == "build"


def test_a_stamp_of_large_values_comes_back(bench):
    value = {"x": "y" * 16_000}
    base, _ = published(bench, params=value, result=value)
    assert stamp_at(bench, base).result == value


words = st.text(max_size=80)


@given(task=words.filter(str.strip), worker=words, started=words, result=st.dictionaries(words, words, max_size=3))
def test_what_is_composed_is_read_back(task, worker, started, result):
    stamp = replace(make_execution("1" * 40).stamp, task=task, worker=worker, started_at=started, result=result).on(
        "2" * 40, ("3" * 40, "4" * 40)
    )
    text = compose(stamp, publication_subject(stamp, Changes()), "5" * 40)
    assert read(text, tree="5" * 40) == stamp


def read(message: str, tree: str):
    """The stamp of a commit with this message and tree."""

    class Commit:
        raw_message = message.encode()
        tree_id = tree

    return stamp_of(Commit())


STAMP = make_execution("1" * 40).stamp.on("2" * 40)
TREE = "5" * 40
MESSAGE = compose(STAMP, "subject", TREE)


def test_the_stamp_is_the_last_paragraph_only():
    assert read(MESSAGE, TREE) == STAMP
    assert read(MESSAGE + "\n\n  \n", TREE) == STAMP
    assert read("quoted:\n\n" + MESSAGE, TREE) == STAMP
    assert read(MESSAGE + "\nand more words\n", TREE) is None


def test_trailers_of_others_may_stand_beside_it():
    assert read(MESSAGE + "Signed-off-by: Ada <ada@example.org>\n", TREE) == STAMP
    assert read(MESSAGE + "words that are no trailer\n", TREE) is None


def test_a_trailer_that_comes_twice_makes_it_no_stamp():
    assert read(MESSAGE + f"Perago-Task: {STAMP.task}\n", TREE) is None


def test_a_missing_or_unreadable_field_makes_it_no_stamp():
    lines = MESSAGE.split("\n")
    for field in ("Perago-Execution-Id", "Perago-Params-Digest", "Perago-Tree"):
        assert read("\n".join(line for line in lines if not line.startswith(field + ":")), TREE) is None
    assert read(MESSAGE.replace("Perago-Retry-Count: 0", "Perago-Retry-Count: first"), TREE) is None


def test_fields_of_a_later_version_are_passed_over():
    assert read(MESSAGE + "Perago-Mood: bright\n", TREE) == STAMP


@given(st.text())
def test_no_text_of_a_person_is_a_stamp(text):
    assert read(text, TREE) is None


def test_an_amended_commit_is_a_persons(bench):
    """Its message still has the stamp, but its content is another."""
    base, ref = published(bench)
    tree = bench.git("rev-parse", f"{base}^{{tree}}")
    amended = bench.git("commit-tree", tree, "-p", base, "-F", "-", text=bench.git("show", "-s", "--format=%B", ref))
    bench.git("update-ref", "refs/heads/main", amended)
    assert stamp_at(bench, base) is None


def test_a_copied_commit_does_not_count(bench):
    base, ref = published(bench)
    bench.git("branch", "other", base)
    between = bench.person_commits({"x": b"x"}, branch="other")
    tree = bench.git("rev-parse", f"{ref}^{{tree}}")
    copied = bench.git("commit-tree", tree, "-p", between, "-F", "-", text=bench.git("show", "-s", "--format=%B", ref))
    bench.git("update-ref", "refs/heads/other", copied)
    newest = bench.store.read_history(bench.input(base, "other")).commits[0]
    assert newest.stamp is not None
    assert newest.counting_stamp is None


def test_messages_that_are_no_text_are_read_all_the_same(bench):
    base = bench.import_files({"a": b"a"})
    tree = bench.git("rev-parse", f"{base}^{{tree}}")
    who = b"\xff <x> 1 +0000"
    raw = b"tree %s\nparent %s\nauthor " + who + b"\ncommitter " + who + b"\nencoding nonsense\n\n\xff\xfe Perago-\n"
    path = bench.root / "commit"
    path.write_bytes(raw % (tree.encode(), base.encode()))
    bench.git("update-ref", "refs/heads/main", bench.git("hash-object", "-w", "-t", "commit", "--literally", str(path)))
    newest = bench.store.read_history(bench.input(base)).commits[0]
    assert (newest.author, newest.stamp) == ("\ufffd", None)
    assert newest.subject.endswith("Perago-")
    bench.git("update-ref", "refs/heads/main", base)


def test_an_empty_message_has_an_empty_subject(bench):
    base = bench.import_files({"a": b"a"})
    tree = bench.git("rev-parse", f"{base}^{{tree}}")
    bench.git("update-ref", "refs/heads/main", bench.git("commit-tree", tree, "-p", base, text=""))
    assert subject_of(BareRepository(bench.path).commit(bench.head())) == ""
    assert bench.store.read_history(bench.input(base)).commits[0].empty


def test_a_name_in_another_encoding_than_utf_8_keeps_nobody_from_committing(bench):
    bench.import_files({"a": b"1"})
    with (bench.path / "config").open("ab") as file:
        file.write("[user]\n\tname = José\n\temail = jose@example.org\n".encode("latin-1"))
    bench.import_files({"a": b"2"})
    assert bench.git("log", "-1", "--format=%an <%ae>") == "Perago <perago@localhost>"


@pytest.mark.parametrize("is_open", [True, False])
def test_settings_of_git_that_cannot_be_read_are_named(bench, is_open):
    bench.import_files({"a": b"1"})
    settings = bench.path / "config"
    whole = settings.read_text()
    settings.write_text(whole + "[user\n\tname = Ada\n")
    if not is_open:
        bench.store = GitStore(bench.path)
    with pytest.raises(StoreError, match=r"settings.*missing ']'.*config:\d+\)\. Correct that file$"):
        bench.import_files({"a": b"2"})
    settings.write_text(whole)
    assert bench.content(bench.import_files({"a": b"2"})) == {"a": b"2"}
