"""The page of the numbers that a run has recorded."""

from __future__ import annotations

from perago.running.repos.address import local_engine, parse_address
from perago.values.models import AttemptIdentity
from ui_pages import HOSTILE, WORKSPACE, opened, record_run, repository, text_of


def test_every_point_of_every_try_is_there(tmp_path):
    address = repository(tmp_path)
    engine = local_engine(parse_address(address))
    data = {"workspace": WORKSPACE, "params": {}}
    with engine.start_run(target="app:train", task_name="train", input_data=data) as run:
        engine.note_series(AttemptIdentity.of(run.attempt), {f"loss {HOSTILE}": [[n, n] for n in range(5_000)]})
    with opened(address) as browser:
        [plot] = browser.get(f"/run/{run.run_id}/series.json").json()["plots"]
        page = browser.get(f"/run/{run.run_id}/series").text
        assert f"/run/{run.run_id}/series" in browser.get(f"/run/{run.run_id}").text
    assert [(one["name"], one["count"], one["last"]) for one in plot["curves"]] == [("try 1", 5_000, 4_999)]
    assert "<script>alert" not in page


def test_a_run_without_numbers_says_how_to_record_them(tmp_path):
    address = repository(tmp_path)
    run = record_run(address, "train", {}, {})
    with opened(address) as browser:
        assert "recorded no numbers" in text_of(browser.get(f"/run/{run}/series").text)
        assert "/series" not in browser.get(f"/run/{run}").text
        assert browser.get("/run/20260101-000000-abcdef/series").status_code == 404
