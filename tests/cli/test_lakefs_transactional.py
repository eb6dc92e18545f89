"""`perago run` on a transactional workflow, on a lakeFS server."""

from __future__ import annotations

import re

import pytest

from perago.values.models import RUN_PREFIX

WHOLE = ("run", "cli_transactional:whole", "--param")


@pytest.mark.long
def test_a_run_that_failed_is_resumed_and_published_whole_and_its_branch_is_swept(songs, perago, monkeypatch, tmp_path):
    gate = tmp_path / "gate"
    monkeypatch.setenv("CLI_GATE", str(gate))
    before, repo = songs.files(), ("--repo", songs.address)
    gate.write_text("fail")
    failed = perago(*WHOLE, "number=1", *songs.on_main, "--json")
    assert (failed.code, songs.files()) == (1, before)
    (branch,) = songs.staging_branches()
    assert branch.startswith(RUN_PREFIX)
    assert songs.files(branch) == {**before, "first/number": "1"}
    assert songs.repository.branches() == ["main"]
    assert branch in perago("runs", *repo).out
    gate.write_text("go on")
    base = songs.head()
    assert perago("run", "--resume", failed.json["run_id"], *repo).code == 0
    assert songs.parent(songs.head()) == base
    assert songs.files() == {**before, "first/number": "1", "second/number": "2"}
    told = perago("log", *songs.on_main, "-n", "1").out
    assert "workflow cli_whole" in told
    assert re.findall(r"^    task    \w{12}  (\S+)$", told, re.MULTILINE) == ["cli_first", "cli_second"]
    (found,) = perago("doctor", *repo, "--runs-older-than", "0.001s", "--json").json["findings"]
    assert (found["kind"], found["what"]) == ("run_branch", branch)
    assert perago("doctor", *repo, "--runs-older-than", "0.001s", "--fix").code == 0
    assert songs.staging_branches() == []
