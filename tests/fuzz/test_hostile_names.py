"""Object names and archives of names: what is laid out lies below the workspace, and comes back as it was."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from hostile import NASTY, hunt, texts
from perago import WorkspaceSpec, task
from perago.errors import ObjectNameError
from perago.testing import MemoryWorkflow
from perago.values.names import check_object_name, check_object_names, name_fault, show_name, stands_for_directory

names = texts | st.lists(st.sampled_from(NASTY) | st.text(max_size=8), min_size=1, max_size=5).map("/".join)
archives = st.dictionaries(names, st.binary(max_size=20), max_size=6)


class Nothing(BaseModel):
    pass


@task(name="hostile.touch", owner_email="tests@example.org", workspace=WorkspaceSpec())
def touch(workspace: Path, params: Nothing) -> Nothing:
    (workspace / "touched.by.the.body").write_text("touched")
    return Nothing()


@hunt
@given(name=names)
def test_a_name_is_refused_with_a_reason_or_leads_to_a_file_below(name):
    fault = name_fault(name)
    if fault is None:
        check_object_name(name)
        path = os.path.normpath(f"/workspace/{name}")
        assert path == f"/workspace/{name}"
        assert all(segment not in ("", ".", "..") for segment in name.split("/"))
        name.encode()
    else:
        try:
            check_object_name(name)
        except ObjectNameError as exc:
            told = str(exc)
            assert fault in told
            assert told.isprintable()
            assert show_name(name) in told
        else:
            raise AssertionError(f"{name!r} {fault}, and was let through")


@hunt
@example(found={"dir/": b""})
@example(found={"dir/": b"full"})
@example(found={"dir/": b"", "dir": b"", "dir/a": b""})
@given(found=archives)
def test_an_attempt_on_an_archive_of_names_writes_below_its_workspace_or_nothing(found):
    """Through a whole attempt: refused before anything is written, or published as it was, with one file more."""
    with tempfile.TemporaryDirectory(prefix="perago-hostile-") as directory:
        root = Path(directory) / "root"
        root.mkdir()
        workflow = MemoryWorkflow(root=root)
        begin = workflow.store.commit("main", found)
        attempt = workflow.run(touch)
        if attempt.error is None:
            assert workflow.store.files(attempt.ref) == {**found, "touched.by.the.body": b"touched"}
            check_object_names(name for name in found if not stands_for_directory(name, len(found[name])))
        else:
            assert isinstance(attempt.error, ObjectNameError), attempt.error
            assert workflow.store.head("main") == begin
            assert not attempt.body_ran
            assert _files(root) == [], "nothing is written where a name is refused"
        assert list(Path(directory).iterdir()) == [root]


def _files(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and "workspace" in path.parts]
