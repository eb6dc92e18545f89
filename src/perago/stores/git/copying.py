"""Files of a commit that are committed again as they are. Their content is neither read nor written."""

from __future__ import annotations

from collections.abc import Sequence

from perago.errors import SourceGoneError, StoreError
from perago.stores.git.lfs import LfsStore, may_be_pointer, parse_pointer
from perago.stores.git.loose import freshen
from perago.stores.git.objects import Leaf, ObjectReader
from perago.stores.git.repository import BareRepository
from perago.stores.git.trees import Snapshot
from perago.values.names import show_name


def leaves_to_copy(repository: BareRepository, ref: str, names: Sequence[str]) -> dict[str, Leaf]:
    """The entries of some files of a commit, by name. Their content is there, and younger now, so that it stays.

    Args:
        ref: full commit id.

    Raises:
        SourceGoneError: there is no such commit, it has no such file, or its content is missing.
    """
    if not names:
        return {}
    try:
        reader = ObjectReader(repository)
        source = Snapshot(reader, str(repository.input_commit(ref).tree_id))
        leaves = {name: _file(source, name) for name in names}
        freshen(repository, (leaf.id for leaf in leaves.values()))
        lfs = LfsStore(repository)
        for name, leaf in leaves.items():
            _check_content(reader, lfs, name, leaf)
    except StoreError as exc:
        raise SourceGoneError(
            f"commit {ref[:12]} of {repository.path} cannot be published again, because not all of it is there: {exc}"
        ) from exc
    return leaves


def _file(source: Snapshot, name: str) -> Leaf:
    leaf = source.leaf(name)
    if leaf is None or not leaf.is_file:
        raise StoreError(f"it has no file {show_name(name)}")
    return leaf


def _check_content(reader: ObjectReader, lfs: LfsStore, name: str, leaf: Leaf) -> None:
    if not may_be_pointer(reader.blob_size(leaf.id)):
        return
    pointer = parse_pointer(reader.blob(leaf.id), name)
    if pointer is not None and not lfs.reuse(pointer):
        raise StoreError(f"the content of {show_name(name)}, object sha256:{pointer.sha256}, is missing")
