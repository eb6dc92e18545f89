"""Thumbnails of the page, for which Pillow reads the image."""

from __future__ import annotations

import struct

from perago.ui.preview.make import png_of, preview_of, thumbnail_of


def test_an_image_is_a_thumbnail_where_a_decoder_is_there() -> None:
    image = png_of(1000, 10, b"\x10\x20\x30" * 10_000)
    assert (preview_of("a.png", image).width, preview_of("a.png", image).height) == (1000, 10)
    made = thumbnail_of("a.png", image)
    assert made is not None
    assert struct.unpack(">II", made[16:24]) == (480, 5)
