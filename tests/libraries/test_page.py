"""Files that the page reads with libraries: images with Pillow, tables with pyarrow."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from perago.running.repos.address import parse_address
from perago.ui.preview.make import png_of, preview_of, thumbnail_of
from perago.ui.report import report_html, report_of
from perago.ui.source import Source
from ui_pages import opened, repository


def test_an_image_is_a_thumbnail_where_a_decoder_is_there() -> None:
    image = png_of(1000, 10, b"\x10\x20\x30" * 10_000)
    assert (preview_of("a.png", image).width, preview_of("a.png", image).height) == (1000, 10)
    made = thumbnail_of("a.png", image)
    assert made is not None
    assert struct.unpack(">II", made[16:24]) == (480, 5)


def test_an_image_is_in_a_report(tmp_path: Path) -> None:
    address = repository(tmp_path, {"plot.png": png_of(2, 2, b"\xff\0\0" * 4)})
    html = report_html(report_of(Source(parse_address(address), "main"), "main"))
    assert re.search(r'<img class="thumbnail" src="data:image/png;base64,iVBOR', html)


def test_of_parquet_only_what_is_known_of_all_rows_is_told(tmp_path: Path) -> None:
    table = pa.table({"n": range(1000), "name": [f"row {number}" for number in range(1000)]})
    parquet.write_table(table, tmp_path / "t.parquet")
    found = preview_of("t.parquet", (tmp_path / "t.parquet").read_bytes())
    assert (found.row_count, len(found.rows)) == (1000, 50)
    assert [(column.name, column.is_number, column.most, column.distinct) for column in found.columns] == [
        ("n", True, None, None),
        ("name", False, None, None),
    ]


def test_parquet_is_compared_by_its_rows(tmp_path: Path) -> None:
    address = repository(tmp_path)
    with parse_address(address).open() as there:
        for names in (["x", "y"], ["x", "z"]):
            parquet.write_table(pa.table({"id": [1, 2], "name": names}), tmp_path / "source" / "t.parquet")
            there.import_directory(tmp_path / "source", "main", "a table")
    with opened(address) as found:
        asked = {"before": "main~1", "after": "main", "path": "t.parquet", "key": "id"}
        page = found.get("/compare/file.json", params=asked).json()
    assert [(row["before"], row["after"]) for row in page["rows"]["rows"]] == [(["2", "y"], ["2", "z"])]
