"""What workers put aside: results that they kept, and later could not read."""

from perago.worker.supervisor.delivery import SPOOL_DIRECTORY, ResultSpool
from perago.worker.supervisor.lock import supervisor_directory


def test_a_kept_result_that_cannot_be_read_is_told_and_left(project):
    directory = supervisor_directory(project.root) / SPOOL_DIRECTORY
    directory.mkdir(parents=True)
    (directory / "0123.json").write_text('{"cut')
    assert project.doctor().findings == []  # a worker that starts will see to it
    assert ResultSpool(directory).load() == []
    said = project.doctor("--fix")
    found = said.only("unreadable_result")
    assert (said.code, found["fixable"], found["size"]) == (1, False, 5)
    assert "never reported" in found["why"]
    assert found["what"] == str(directory / "0123.damaged")
    assert (directory / "0123.damaged").read_text() == '{"cut'
