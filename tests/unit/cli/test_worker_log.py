"""What a worker writes where people see it at once."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

from perago.cli.starting import _logging
from perago.worker.loops import Loop


def test_neither_stderr_nor_the_file_holds_a_secret(tmp_path, capsys):
    config = SimpleNamespace(
        log_root=tmp_path, log_file_max_size=10**6, log_retention=SimpleNamespace(total_seconds=lambda: 3600.0)
    )
    failed = threading.Event()

    def work():
        if not failed.is_set():
            failed.set()
            raise ValueError("no answer from https://me:hunter2@host/?token=hunter3\x1b[2J")

    with _logging(config, "worker-1", as_json=False):
        loop = Loop("housekeeping", work)
        loop.start()
        assert failed.wait(10)
        assert loop.stop(10)
    told = capsys.readouterr().err
    (line,) = [json.loads(line) for line in (tmp_path / "worker-1.jsonl").read_text().splitlines()]
    for text in (told, line["traceback"]):
        assert "ValueError: no answer from https://" in text
        assert "hunter" not in text
    assert "ERROR housekeeping failed" in told
    assert "\x1b" not in told
