"""The page of one file in two commits: the rows of a table that differ, or two images side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from perago.asking.tables import separator_of
from perago.errors import PrefixNotFoundError
from perago.ui.preview.content import IMAGES
from perago.ui.preview.make import MAX_BYTES, RowsBetween, rows_between
from perago.ui.source import Source
from perago.values.names import show_name

Side = Literal["rows", "images", "none"]


@dataclass(frozen=True, kw_only=True)
class RowsPage:
    """A file in two commits.

    Attributes:
        before, after: full ids.
        sizes: in bytes, by commit id. A commit without the file is left out.
        kind: `none`: neither a table nor an image, or not in both commits.
        rows: None if it is not a table, or could not be read.
        is_large: it is too large to be read for a page.
    """

    path: str
    before: str
    after: str
    sizes: Mapping[str, int]
    kind: Side
    key: str
    rows: RowsBetween | None
    is_large: bool


def kind_of(path: str) -> Side:
    """How a file is compared, by its name."""
    if separator_of(path) is not None or path.lower().endswith(".parquet"):
        return "rows"
    return "images" if path.lower().endswith(IMAGES) else "none"


def rows_page(source: Source, before: str, after: str, path: str, key: str) -> RowsPage:
    """See `RowsPage`.

    Args:
        before, after: commits, branches or tags.
        key: the column by which rows are matched; "" for their position.

    Raises:
        PrefixNotFoundError: neither commit has the file.
        RefNotFoundError, StoreError: there is no such commit, or it cannot be read.
    """
    with source.past() as past:
        ids = [past.resolve(before), past.resolve(after)]
        files = {commit: found for commit in ids if (found := past.repository.find_file(commit, path)) is not None}
        if not files:
            raise PrefixNotFoundError(f"neither commit has a file {show_name(path)}")
        kind = kind_of(path)
        is_large = any(file.size > MAX_BYTES for file in files.values())
        is_read = kind == "rows" and len(files) == len(set(ids)) and not is_large
        contents = [files[commit].read() for commit in ids] if is_read else []
    return RowsPage(
        path=path,
        before=ids[0],
        after=ids[1],
        sizes={commit: file.size for commit, file in files.items()},
        kind=kind,
        key=key,
        rows=rows_between(path, contents[0], contents[1], key or None) if contents else None,
        is_large=is_large,
    )
