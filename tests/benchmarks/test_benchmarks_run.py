"""The benchmarks run, on next to nothing, and say what they measured."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.changed.projects import DVC
from benchmarks.lakefs import reference

ROOT = Path(__file__).parents[2]
PLOTS = ["git-growth-changes.svg", "git-growth-files.svg"]


@pytest.fixture
def measured(tmp_path):
    """Run a part of the benchmarks. It leaves nothing but its results, whose directory is returned."""

    def run(part, seconds=280):
        work, output = tmp_path / "work", tmp_path / "output"
        output.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", part, "--tiny", "--directory", work, "--output", output],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stderr
        assert list(work.iterdir()) == []
        return output

    return run


def test_the_benchmarks_write_results_and_plots_and_leave_nothing(measured):
    output = measured("git")
    assert sorted(path.name for path in output.iterdir()) == ["RESULTS.md", *PLOTS]
    text = (output / "RESULTS.md").read_text()
    assert "Made by `python -m benchmarks git --tiny`" in text
    for title in (
        "#### 20 files of 1,024 bytes, 2 changed",
        "#### one file of 3 MiB, one byte changed",
        "#### By number of files in the commit",
        "#### By number of changed files",
    ):
        assert title in text
    assert re.search(r"^\| Perago, an attempt \| \d", text, re.MULTILINE)
    assert re.search(r"^Perago, an attempt, seconds by phase: .*\bmaterialize \d.*\bstage \d", text, re.MULTILINE)
    assert re.search(r"^git, seconds by phase: checkout \d", text, re.MULTILINE)
    assert str(output.parent) not in text
    for name in PLOTS:
        drawing = ET.parse(output / name).getroot()
        lines = drawing.findall("{http://www.w3.org/2000/svg}polyline")
        assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]


def test_what_a_process_costs_a_body_is_measured(measured):
    output = measured("bodies")
    text = (output / "RESULTS.md").read_text()
    assert re.search(r"^- a forked body costs an attempt -?\d", text, re.MULTILINE)
    assert re.search(r"^\| spawned \| \d", text, re.MULTILINE)


def test_validation_and_prefixes_are_measured_on_both_stores(measured, start_lakefs):
    output = measured("scoped")
    text = (output / "RESULTS.md").read_text()
    assert re.search(
        r"^- lakeFS: validating the reads .* calls: 1, required at most 100 ms and 4 calls: ", text, re.MULTILINE
    )
    for store in ("git", "lakeFS"):
        assert re.search(
            rf"^- {store}: 8 workflows under 8 prefixes of one branch, serializable: 0 refused, ", text, re.MULTILINE
        )
    assert re.search(
        r"^- lakeFS: beginning and end of a transactional run: .* 12 calls with 3 files, required at most 14: reached",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^\| 3 \| 0\..* \| 0\..* \| 0\..* s \| 0 \|$", text, re.MULTILINE)


def test_http_clients_are_measured_beside_each_other(measured, start_lakefs):
    output = measured("pool")
    text = (output / "RESULTS.md").read_text()
    for client in ("one connection", "http.client in threads", "urllib3 in threads", "aiohttp", "Perago's session"):
        assert f"| {client} | 0." in text
    assert "| **Perago's session / urllib3 in threads** |" in text


def test_attempts_on_lakefs_are_measured_beside_others(measured, start_lakefs):
    output = measured("lakefs")
    text = (output / "RESULTS.md").read_text()
    for side in ("Perago, first attempt", "Perago, second attempt", "bare HTTP", "lakectl"):
        assert len(re.findall(rf"^\| {side} \| \d+\.\d+ \(", text, re.MULTILINE)) == 2
    if not reference.is_made():
        assert "perago 0.6.1 was not measured: it is not installed here." in text
    assert re.search(r"^- one file of 2 MiB, a byte appended: \d+ MiB of memory, .*: reached$", text, re.MULTILINE)
    assert re.search(r"^- by changed files, Perago, second attempt: -?\d", text, re.MULTILINE)
    for title in ("### 20 files of 1,024 bytes, 2 changed", "### one file of 2 MiB, a byte appended"):
        assert title in text
    for name in ("lakefs-growth-files.svg", "lakefs-growth-changes.svg"):
        lines = ET.parse(output / name).getroot().findall("{http://www.w3.org/2000/svg}polyline")
        assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]


def test_workers_on_conductor_are_measured(measured, start_conductor, start_lakefs):
    """Some 40 s, half of them the server's start. Others are left out: they would have to be installed."""
    output = measured("conductor")
    text = (output / "RESULTS.md").read_text()
    for mode in ("processes", "threads"):
        assert re.search(
            rf"^\| Perago, {mode} \| [1-9]\d* \(.* \| [1-9]\d* \(.* /s \| \d+\.\d\d \(", text, re.MULTILINE
        )
        assert re.search(rf"^\| Perago, {mode} \| \d+\.\d\d% \| \d+\.\d\d% \| [1-9]\d+ MiB, ", text, re.MULTILINE)
    assert re.search(r"^\| Perago, processes \| [1-9]\d* \| [1-9]\d* \|$", text, re.MULTILINE)
    assert "Not measured: conductor-python" in text


def test_a_part_that_does_not_exist_is_told_and_nothing_is_measured(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "svn", "--directory", tmp_path / "work", "--output", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no part svn; there are git" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_distance_is_measured_beside_lakectl(measured, start_lakefs):
    output = measured("distance")
    text = (output / "RESULTS.md").read_text()
    assert re.search(r"^- 40 objects of 1 KiB down over 5 ms: \d", text, re.MULTILINE)
    assert re.search(r"^\| 5 ms \| up \| \d", text, re.MULTILINE)
    assert re.search(r"^\| 5 ms \| \d\S* s \| ", text, re.MULTILINE)


def test_transfers_are_measured_beside_lakectl(measured, start_lakefs, s3_server):
    output = measured("transfers")
    text = (output / "RESULTS.md").read_text()
    for title in ("20 x 1,024 bytes up", "20 x 1,024 bytes down", "1 x 33 MiB up", "1 x 33 MiB down"):
        assert re.search(rf"^- {title}: \d+\.\d+ \(.*of lakectl's; required at most 1.0: ", text, re.MULTILINE)
        assert re.search(rf"^\| {title} \| (\d+\.\d+ \([^|]*\) s \| ){{3}}", text, re.MULTILINE)


def test_workflows_are_measured_here_and_on_a_server(measured, start_conductor):
    output = measured("workflows")
    text = (output / "RESULTS.md").read_text()
    assert re.search(r"^- 4 tasks beside each other, `-j 2`: \d+\.\d+ \(", text, re.MULTILINE)
    assert re.search(r"^- a run, for each task beyond the task: \d+\.\d+ \(", text, re.MULTILINE)
    assert re.search(
        r"^- from the start of a workflow to its first task on an idle worker: \d+\.\d+ \(", text, re.MULTILINE
    )


def test_what_has_not_changed_is_measured(measured, start_lakefs):
    output = measured("changed", seconds=800)
    text = (output / "RESULTS.md").read_text()
    assert re.search(r"^- git: a hit on 200 files, in a process that has begun: \d+\.\d+ \(", text, re.MULTILINE)
    told = r"^- lakeFS: a hit on 200 files: .* with one listing and \d calls, required at most 10: reached"
    assert re.search(told, text, re.MULTILINE)
    nothing, changed = "nothing has changed", "10 files have changed"
    for row in (f"{nothing} | Perago on git", f"{changed} | Perago on git", f"{nothing} | Perago on lakeFS"):
        assert re.search(rf"^\| {re.escape(row)} \| \d+\.\d+ \(", text, re.MULTILINE)
    assert (f"| {changed} | DVC | " in text) == DVC.is_made()
    assert ("DVC was not measured: it is not installed here." in text) != DVC.is_made()


@pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")
def test_the_second_attempt_is_measured(measured, start_lakefs):
    output = measured("warm", seconds=800)
    text = (output / "RESULTS.md").read_text()
    for store in ("git", "lakeFS"):
        assert f"### {store}, 300 files of 100 bytes, 10 changed" in text
    assert len(re.findall(r"^\| files stay \| \d.* MiB \|$", text, re.MULTILINE)) == 2
    for case in ("git, 10 files of 1,024 bytes", "lakeFS, 2 files of 17 MiB"):
        assert re.search(
            rf"^- {case}: a first attempt whose files may stay takes \d.*at most 1.05: ", text, re.MULTILINE
        )
    for store in ("git", "lakeFS"):
        assert re.search(rf"^- {store}: two slots at once on one commit, .*at most 1.3: ", text, re.MULTILINE)
        assert re.search(rf"^- {store}: a workflow of 6 tasks on 300 files, .*at most 1.5 s: ", text, re.MULTILINE)
    assert re.search(r"makes 2 copies of it \(required at most 4: reached\) .*, 4 copies and \d", text)


def test_the_page_on_a_long_history_is_measured(measured, start_lakefs):
    output = measured("ui")
    text = (output / "RESULTS.md").read_text()
    for store in ("git", "lakeFS"):
        assert re.search(
            rf"^- {store}: the first page after the start: \d.*, required at most 1 s: ", text, re.MULTILINE
        )
        assert re.search(
            rf"^- {store}: peak memory of the page's process: [1-9]\d* MiB, required at most 150 MiB: reached",
            text,
            re.MULTILINE,
        )
        assert f"### {store}, 40 commits" in text
    for name in ("runs", "history", "lineage of the commit of all files", "compare 200 runs", "results of a task"):
        assert len(re.findall(rf"^\| {name} \| \d+\.\d+ \(.*\| \d+ KiB \|$", text, re.MULTILINE)) == 2
