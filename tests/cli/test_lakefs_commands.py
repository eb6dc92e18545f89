"""The commands on a real lakeFS server, by the same flags as on a git repository."""

from __future__ import annotations

import json
import signal

import pytest

from servers.machine import slowness

FILES = {"in/a.txt": "alpha", "in/b.txt": "beta", "other.txt": "other"}


# ---- import and export


def test_an_import_makes_a_branch_that_holds_the_directory_and_nothing_else(songs, perago):
    songs.write({"x.txt": "x", "deep/y.txt": "y"}, "more")
    said = perago("import", "more", "--repo", songs.address, "--branch", "raw")
    assert said.code == 0, said.err
    assert said.out == f"Imported 2 files, 2 B, onto branch raw (2 added): commit {songs.head('raw')}\n"
    assert songs.files("raw") == {"x.txt": "x", "deep/y.txt": "y"}
    assert songs.files() == FILES
    assert songs.staging_branches() == []


def test_a_mirror_sends_what_changed_and_removes_what_is_gone_in_one_step(songs, perago):
    first = songs.head()
    kept = songs.repository.stat("main", "in/b.txt")["physical_address"]
    (songs.path / "source" / "other.txt").unlink()
    songs.write({"in/a.txt": "ALPHA", "new.txt": "new"})
    assert perago("import", "source", *songs.on_main, "--mirror", "-m", "A second one").code == 0
    assert songs.files() == {"in/a.txt": "ALPHA", "in/b.txt": "beta", "new.txt": "new"}
    assert songs.parent("main") == first
    assert songs.commit("main")["message"] == "A second one"
    assert songs.repository.stat("main", "in/b.txt")["physical_address"] == kept


def test_a_dry_import_shows_what_would_change_and_changes_nothing(songs, perago):
    head = songs.head()
    (songs.path / "source" / "other.txt").unlink()
    songs.write({"in/a.txt": "ALPHA", "new.txt": "new"})
    said = perago("import", "source", *songs.on_main, "--dry-run")
    assert said.code == 0, said.err
    assert said.out == "  added     new.txt\n  modified  in/a.txt\n"
    assert "Nothing was imported. 1 file that source does not have stays; --mirror deletes it." in said.err
    mirrored = perago("import", "source", *songs.on_main, "--dry-run", "--mirror", "--json").json
    assert {"change": "deleted", "path": "other.txt"} in mirrored["changes"]
    other = ("--repo", f"lakefs://{songs.repository.name}-c", "--dry-run")
    refused = perago("import", "source", *other)
    assert (refused.code, "--storage-namespace s3://" in refused.err) == (2, True)
    made = perago("import", "source", *other, "--storage-namespace", "local://nowhere")
    assert (made.code, made.out.count("  added  ")) == (0, 3)
    assert perago("import", "source", *other).code == 2
    assert (songs.head(), songs.staging_branches()) == (head, [])


def test_an_import_that_changes_nothing_says_so_and_leaves_the_branch(songs, perago):
    head = songs.head()
    said = perago("import", "source", *songs.on_main)
    assert said.out == f"Nothing changed: branch main holds the same 3 files at {head}\n"
    assert songs.head() == head


def test_a_prefix_is_all_that_an_import_touches_and_it_leads_through_no_file(songs, perago):
    songs.write({"x.txt": "x"}, "more")
    assert perago("import", "more", *songs.on_main, "--prefix", "in").code == 0
    assert songs.files() == {**FILES, "in/x.txt": "x"}
    assert perago("import", "more", *songs.on_main, "--prefix", "in", "--mirror").code == 0
    assert songs.files() == {"in/x.txt": "x", "other.txt": "other"}
    head = songs.head()
    said = perago("import", "more", *songs.on_main, "--prefix", "other.txt/below")
    assert said.code == 2
    assert "'other.txt' is a file" in said.err
    assert songs.head() == head


def test_an_import_makes_a_repository_only_where_it_is_told_where_to_keep_it(songs, perago):
    name = f"{songs.repository.name}-b"
    address = ("--repo", f"lakefs://{name}", "--branch", "trunk")
    said = perago("import", "source", *address)
    assert said.code == 2
    assert f"no repository '{name}'" in said.err
    assert "--storage-namespace" in said.err
    namespace = f"{songs.server.storage}{name}"
    said = perago("import", "source", *address, "--storage-namespace", namespace)
    assert said.code == 0, said.err
    try:
        assert perago("export", "out", *address).code == 0
        assert (songs.path / "out" / "in" / "a.txt").read_text() == "alpha"
    finally:
        songs.repository.api.expect("DELETE", f"/repositories/{name}", query={"force": True})


def test_the_executable_bit_goes_in_and_comes_out(songs, perago):
    (songs.path / "source" / "in" / "a.txt").chmod(0o755)
    assert perago("import", "source", *songs.on_main).code == 0
    assert perago("export", "out", *songs.on_main).code == 0
    assert (songs.path / "out" / "in" / "a.txt").stat().st_mode & 0o777 == 0o755
    assert (songs.path / "out" / "other.txt").stat().st_mode & 0o111 == 0


def test_an_export_lays_out_a_branch_or_a_commit_below_a_prefix(songs, perago):
    first = songs.head()
    perago("run", "cli_bodies:write", *songs.on_main)
    said = perago("export", "out", *songs.on_main)
    assert said.out == f"Exported 4 files of commit {songs.head()} to out\n"
    assert {path.name for path in (songs.path / "out").iterdir()} == {"in", "other.txt", "out.txt"}
    told = perago("export", "before", "--repo", songs.address, "--ref", first[:12], "--prefix", "in", "--json").json
    assert told == {"commit": first, "files": 2, "directory": "before"}
    assert sorted(path.name for path in (songs.path / "before").iterdir()) == ["a.txt", "b.txt"]


# ---- runs


def test_a_run_publishes_what_the_body_changed_and_prints_its_result(songs, perago):
    before = songs.head()
    said = perago("run", "cli_bodies:replace_all", *songs.on_main)
    assert said.code == 0, said.err
    assert json.loads(said.out) == {"length": 3}
    assert f"Published commit {songs.head()} on branch main." in said.err
    assert songs.files() == {"in/a.txt": "longer alpha", "in/new.txt": "out", "other.txt": "other"}
    assert songs.parent("main") == before
    assert songs.staging_branches() == []
    assert list(songs.workspace_root.iterdir()) == []
    lines = said.err.splitlines()
    assert any(line.startswith("materialize: 2 files, 9 B") for line in lines)
    assert any(line.startswith("stage: 2 files, 15 B") for line in lines)
    assert "diff: 1 added, 1 modified, 1 deleted" in lines


def test_the_history_says_who_published_what_from_what(songs, perago):
    before = songs.head()
    perago("run", "cli_bodies:write", "--param", "text=hello", "--param", "password=secret", *songs.on_main)
    songs.repository.commit_files("main", {"notes.txt": b"by hand"})
    hand, run, imported, *_ = perago("log", *songs.on_main, "--json").json
    assert (hand["kind"], hand["added"], hand["stamp"]) == ("commit", 1, None)
    assert (run["kind"], run["added"], run["parents"][0]) == ("publication", 1, before)
    assert run["stamp"]["task"] == "write"
    assert run["stamp"]["params"]["text"] == "hello"
    assert "secret" not in json.dumps(run)
    assert run["stamp"]["result"] == {"length": 5}
    assert (imported["kind"], imported["subject"], imported["added"]) == ("commit", "Import source", 3)
    said = perago("log", *songs.on_main, "-n", "2")
    assert len([line for line in said.out.splitlines() if not line.startswith(" ")]) == 2
    assert "There are older commits" in said.err


def test_a_persons_commit_in_between_is_kept_and_the_run_is_refused(songs, perago, tmp_path):
    there, go = tmp_path / "there", tmp_path / "go"
    params = ("--param", f"touch={there}", "--param", f"wait_for={go}")
    with songs.start("run", "cli_bodies:write", *params, *songs.on_main) as process:
        songs.wait_for(there)
        theirs = songs.repository.commit_files("main", {"theirs.txt": b"theirs"})
        go.touch()
        _, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 3, err
    assert theirs[:12] in err
    assert songs.head() == theirs
    assert songs.files() == FILES | {"theirs.txt": "theirs"}
    assert songs.staging_branches() == []
    [listed] = perago("runs", "--repo", songs.address, "--json").json
    assert listed["status"] == "FAILED"


def test_a_dry_run_shows_the_changes_and_publishes_nothing(songs, perago):
    head = songs.head()
    told = perago("run", "cli_bodies:replace_all", *songs.on_main, "--dry-run", "--json").json
    assert {(change["change"], change["path"]) for change in told["changes"]} == {
        ("modified", "a.txt"),
        ("deleted", "b.txt"),
        ("added", "new.txt"),
    }
    assert songs.head() == head
    assert songs.staging_branches() == []
    assert perago("runs", "--repo", songs.address, "--json").json == []


def test_a_killed_run_is_resumed_from_its_input_and_leaves_nothing(songs, perago, tmp_path):
    before = songs.head()
    there = tmp_path / "there"
    params = ("--param", f"touch={there}", "--param", f"wait_for={tmp_path / 'go'}")
    with songs.start("run", "cli_bodies:write", *params, *songs.on_main) as process:
        songs.wait_for(there)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60 * slowness())
    [killed] = perago("runs", "--repo", songs.address, "--json").json
    assert (killed["status"], killed["input_ref"]) == ("killed", before)
    (tmp_path / "go").touch()
    resumed = perago("run", "--resume", killed["run_id"], "--repo", songs.address)
    assert resumed.code == 0, resumed.err
    assert songs.parent("main") == before
    assert songs.files() == FILES | {"out.txt": "out"}
    [listed] = perago("runs", "--repo", songs.address, "--json").json
    assert (listed["run_id"], listed["status"], listed["tries"]) == (killed["run_id"], "COMPLETED", 2)


def test_the_records_of_runs_lie_with_the_user_by_server_and_repository(songs, perago, monkeypatch):
    perago("run", "cli_bodies:write", *songs.on_main)
    [directory] = (songs.path.parent / "state" / "perago" / "lakefs").iterdir()
    assert directory.name.startswith(f"{songs.repository.name}-127.0.0.1-")
    assert len(perago("runs", "--repo", songs.address, "--json").json) == 1
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", songs.server.url + "/api/v1/")
    assert len(perago("runs", "--repo", songs.address, "--json").json) == 1, "the same server"


def test_a_second_run_lays_its_input_out_from_the_cache(songs, perago):
    perago("run", "cli_bodies:write", "--param", "text=1", *songs.on_main)
    told = perago("cache", "--json").json
    assert told["entries"] >= 4, "three fetched, one sent"
    assert perago("run", "cli_bodies:write", "--param", "text=2", *songs.on_main).code == 0
    assert songs.files() == FILES | {"out.txt": "2"}
    assert perago("cache", "--clear").code == 0
    assert perago("run", "cli_bodies:write", "--param", "text=3", *songs.on_main).code == 0
    assert songs.files() == FILES | {"out.txt": "3"}


def test_without_a_cache_nothing_is_kept(songs, perago, monkeypatch):
    monkeypatch.setenv("PERAGO_CACHE_MAX_SIZE", "0")
    perago("cache", "--clear")
    assert perago("run", "cli_bodies:write", *songs.on_main).code == 0
    assert perago("cache", "--json").json["entries"] == 0


# ---- doctor


def test_doctor_finds_what_a_killed_run_staged_and_mends_it(songs, perago):
    assert perago("doctor", "--repo", songs.address).code == 0
    left = songs.repository.branch("perago-20200101t000000z-left", songs.head(), hidden=True)
    songs.repository.branch("perago-mine", songs.head())
    said = perago("doctor", "--repo", songs.address)
    assert said.code == 1
    assert f"staged commit: {left}" in said.out
    assert "perago-mine" not in said.out
    assert perago("doctor", "--repo", songs.address, "--fix").code == 0
    assert songs.staging_branches() == ["perago-mine"]


def test_doctor_says_which_stamps_do_not_count(songs, perago):
    perago("run", "cli_bodies:write", *songs.on_main)
    stamp = songs.commit("main")["metadata"]
    songs.repository.put("main", "copied.txt", b"copied")
    songs.repository.commit("main", "Copied", stamp)
    songs.repository.put("main", "broken.txt", b"broken")
    songs.repository.commit("main", "Broken", {"perago.task": "write"})
    told = perago("doctor", "--repo", songs.address, "--json")
    kinds = {finding["kind"]: finding["what"] for finding in told.json["findings"]}
    assert told.code == 1
    assert "Copied" in kinds["stamp_that_does_not_count"]
    assert "Broken" in kinds["unreadable_stamp"]


# ---- bad input


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "wrong"}, "Check the access key id"),
        ({"LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:1"}, "Check the endpoint URL"),
        ({"LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": ""}, "The lakeFS settings are incomplete"),
        (
            dict.fromkeys(
                (
                    "LAKECTL_SERVER_ENDPOINT_URL",
                    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID",
                    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY",
                ),
                "",
            ),
            "needs a lakeFS server: set LAKECTL_SERVER_ENDPOINT_URL",
        ),
        ({"PERAGO_FENCE": "none"}, "PERAGO_FENCE"),
    ],
)
@pytest.mark.parametrize("command", ["run", "import", "export", "log", "runs", "doctor"])
def test_wrong_settings_are_told_before_anything_is_done(songs, perago, monkeypatch, settings, said, command):
    arguments = {
        "run": ("cli_bodies:write", *songs.on_main),
        "import": ("source", *songs.on_main),
        "export": ("out", *songs.on_main),
        "log": songs.on_main,
        "runs": ("--repo", songs.address),
        "doctor": ("--repo", songs.address),
    }[command]
    head = songs.head()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    told = perago(command, *arguments)
    assert told.code in (1, 2)
    assert said in told.err.replace("\n", " ")
    assert songs.server.secret_access_key not in told.err + told.out
    assert songs.head() == head
    assert not (songs.path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--repo", "lakefs://no-such-repository", "--branch", "main"), 2, "no repository 'no-such-repository'"),
        (("--repo", "lakefs://No_Name", "--branch", "main"), 2, "is not a lakeFS repository"),
        (("--repo", "lakefs://songs/main", "--branch", "main"), 2, "--repo takes the repository only"),
        (("--repo", "s3://songs", "--branch", "main"), 2, "not s3://"),
        (("--branch", "nope"), 2, "has no branch 'nope'; it has 'main'"),
        (("--branch", "main", "--ref", "nope"), 2, "no commit 'nope'"),
        ((), 2, "Missing option '--branch'"),
    ],
)
def test_what_is_not_there_is_said_before_the_body_runs(songs, perago, arguments, code, said):
    if "--repo" not in arguments:
        arguments = ("--repo", songs.address, *arguments)
    told = perago("run", "cli_bodies:write", *arguments)
    assert told.code == code
    assert said in told.err.replace("\n", " ")
    assert "body: running" not in told.err


def test_an_object_whose_checksum_is_none_is_read_where_the_setting_says_so(songs, perago, monkeypatch):
    address = songs.repository.put("main", "of-kms", b"content")["physical_address"]
    staged = {"physical_address": address, "checksum": "0" * 32, "size_bytes": 7}
    songs.repository.expect("PUT", "/branches/main/objects", query={"path": "of-kms"}, data=staged)
    songs.repository.commit("main")
    refused = perago("export", "refused", *songs.on_main)
    assert refused.code == 1
    assert "set PERAGO_CHECKSUMS=opaque" in refused.err.replace("\n", " ")
    doctor = ("doctor", "--repo", songs.address, "--deep", "--json")
    assert ["of-kms" in finding["what"] for finding in perago(*doctor).json["findings"]] == [True]
    monkeypatch.setenv("PERAGO_CHECKSUMS", "opaque")
    assert (perago(*doctor).json["clean"], perago(*doctor).json["findings"]) == (True, [])
    assert perago("export", "out", *songs.on_main).code == 0
    assert (songs.path / "out" / "of-kms").read_bytes() == b"content"


def test_a_prefix_that_matches_nothing_is_an_error_of_an_export(songs, perago):
    said = perago("export", "out", *songs.on_main, "--prefix", "nowhere")
    assert said.code == 2
    assert "nowhere" in said.err
    assert not (songs.path / "out").exists()


@pytest.mark.parametrize("name", ["../x", "/abs", "a/../../x", "in", "a\nb", "C:\\x", "n\u0000l"])
def test_a_hostile_name_is_refused_before_anything_is_written(songs, perago, name):
    songs.repository.commit_files("main", {name: b"hostile"})
    head = songs.head()
    for arguments in (("run", "cli_bodies:write", *songs.on_main), ("export", "out", *songs.on_main)):
        said = perago(*arguments)
        assert said.code in (1, 2)
        assert "object name" in said.err.replace("\n", " ")
    assert not (songs.path / "out").exists()
    assert not (songs.path.parent / "x").exists()
    assert songs.head() == head


def test_a_directory_with_what_the_server_would_run_is_not_imported(songs, perago):
    songs.write({"_lakefs_actions/evil.yaml": "name: evil"}, "evil")
    head = songs.head()
    said = perago("import", "evil", *songs.on_main)
    assert said.code == 2
    assert "_lakefs_actions/evil.yaml" in said.err.replace("\n", "")
    assert songs.head() == head


def test_uncommitted_changes_on_the_branch_are_said(songs, perago):
    songs.repository.put("main", "dirty.txt", b"dirty")
    head = songs.head()
    said = perago("run", "cli_bodies:write_in_a_second", *songs.on_main)
    assert said.code == 1
    assert "uncommitted changes of 'dirty.txt'" in " ".join(said.err.split())
    assert songs.head() == head
