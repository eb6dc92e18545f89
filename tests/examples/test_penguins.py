"""The example tasks, held to what is published about the data set."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil

import pytest

from perago import PostGuardrailViolation, invoke_workspace_task_body, load_module_task
from perago.testing import MemoryWorkflow

WORKSPACE = {"repository": "penguins", "branch": "main", "refType": "commit", "ref": "0" * 40}


@pytest.fixture
def workspace(examples, tmp_path):
    shutil.copytree(examples / "data", tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def run(workspace):
    def run_task(module, directory=workspace, **params):
        task = load_module_task(f"penguins.{module}")
        return invoke_workspace_task_body(task, {"workspace": WORKSPACE, "params": params}, directory)["result"]

    return run_task


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_data_is_what_its_note_says(examples):
    digest = hashlib.sha256((examples / "data" / "raw" / "penguins.csv").read_bytes()).hexdigest()
    assert digest in re.findall(r"[0-9a-f]{64}", (examples / "DATA.md").read_text())


def test_clean_keeps_every_bird_that_was_measured(run, workspace):
    assert run("clean") == {"read": 344, "kept": 342, "by_species": {"Adelie": 151, "Chinstrap": 68, "Gentoo": 123}}
    tables = sorted((workspace / "clean").iterdir())
    assert [table.name for table in tables] == ["adelie.csv", "chinstrap.csv", "gentoo.csv"]
    rows = [row for table in tables for row in _rows(table)]
    assert len(rows) == 342
    assert {row["sex"] for row in rows} == {"male", "female", ""}
    assert {row["year"] for row in rows} == {"2007", "2008", "2009"}
    assert "NA" not in {value for row in rows for value in row.values()}


def test_clean_leaves_no_table_of_an_earlier_run(examples):
    task = load_module_task("penguins.clean")
    workflow = MemoryWorkflow({"raw/penguins.csv": (examples / "data" / "raw" / "penguins.csv").read_bytes()})
    assert workflow.run(task).status == "COMPLETED"
    assert workflow.run(task, {"islands": ["Torgersen"]}).result.model_dump()["by_species"] == {"Adelie": 51}
    assert [path for path in workflow.files if path.startswith("clean/")] == ["clean/adelie.csv"]


def test_an_island_that_is_not_there_leaves_no_table_and_a_guard_says_so(run, workspace):
    with pytest.raises(PostGuardrailViolation, match=re.escape("clean/*.csv")):
        run("clean", islands=["Atlantis"])
    assert list(workspace.glob("clean/*")) == []


def test_summarise_finds_the_published_means(run, workspace):
    run("clean")
    assert run("summarise") == {"penguins": 342, "groups": 3, "heaviest": "Gentoo"}
    means = {row["group"]: row for row in _rows(workspace / "reports" / "summary.csv")}
    assert float(means["Adelie"]["mean_bill_length_mm"]) == pytest.approx(38.79, abs=0.01)
    assert float(means["Chinstrap"]["mean_flipper_length_mm"]) == pytest.approx(195.82, abs=0.01)
    assert float(means["Gentoo"]["mean_body_mass_g"]) == pytest.approx(5076.02, abs=0.01)


def test_summarise_can_tell_the_sexes_apart(run):
    run("clean")
    assert run("summarise", by_sex=True)["heaviest"] == "Gentoo male"


def test_classify_tells_the_species_apart_and_changes_nothing(run, workspace):
    run("clean")
    before = {path: path.read_bytes() for path in workspace.rglob("*.csv")}
    result = run("classify", workspace / "clean")
    assert result["penguins"] == 342
    assert result["accuracy"] > 0.98
    assert {path: path.read_bytes() for path in workspace.rglob("*.csv")} == before
