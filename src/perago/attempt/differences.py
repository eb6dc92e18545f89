"""In what two keys of a task differ, part by part, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from perago.ports import CommitEntry, ListedFile
from perago.values.json_text import JsonObject
from perago.values.stamps import canonical_json

Part = Literal["file", "param", "source", "library", "variable", "python", "declaration"]

SHOWN = 3
"""Differences of one kind in a sentence."""

_LONGEST_VALUE = 40
_KINDS: dict[str, Part] = {"sources": "source", "libraries": "library", "variables": "variable"}
_WORDS: dict[Part, str] = {
    "file": "file",
    "param": "param",
    "source": "source",
    "library": "library",
    "variable": "variable",
    "python": "Python",
    "declaration": "the declared workspace",
}


@dataclass(frozen=True)
class Difference:
    """One thing in which two keys differ.

    Attributes:
        name: such as a path, or the name of a param.
        before, after: for people; None if it was, or is, not there. Digests are not told.
        how: added, changed or gone.
    """

    part: Part
    name: str
    how: Literal["added", "changed", "gone"]
    before: str | None = None
    after: str | None = None

    @property
    def text(self) -> str:
        """In words: `param suffix: "a" -> "b"`, `file raw/a.csv changed`."""
        if self == OTHER_FILES:
            return "other files"
        word = _WORDS[self.part]
        told = f"{word} {self.name}" if self.name else word
        if self.before is not None and self.after is not None:
            return f"{told}: {self.before} -> {self.after}"
        return f"{told} {self.how}"


OTHER_FILES = Difference("file", "", "changed")
"""Some files differ, but it cannot be told which."""


@dataclass(frozen=True)
class KeyFacts:
    """What is known of a key.

    Attributes:
        parts: see `cache_key.parts_of`.
        params: masked; None if they were too large to keep.
    """

    parts: JsonObject
    params: JsonObject | None


def facts_of(entry: CommitEntry) -> KeyFacts | None:
    """Those of a commit; None if its stamp has none."""
    stamp = entry.stamp
    if stamp is None or stamp.cache_key is None or stamp.cache_parts is None:
        return None
    return KeyFacts(stamp.cache_parts, stamp.params)


def differences(before: KeyFacts, after: KeyFacts) -> list[Difference]:
    """All but those of single files, which the parts do not have."""
    found = []
    if before.parts.get("workspace") != after.parts.get("workspace"):
        found.append(Difference("declaration", "", "changed"))
    if before.parts.get("params") != after.parts.get("params"):
        found += _of_params(before.params, after.params)
    if before.parts.get("python") != after.parts.get("python"):
        versions = (str(facts.parts.get("python")) for facts in (before, after))
        found.append(Difference("python", "", "changed", *versions))
    for name, kind in _KINDS.items():
        tells = kind == "library"
        found += _between(kind, before.parts.get(name) or {}, after.parts.get(name) or {}, tells=tells)
    return found


def have_other_files(before: KeyFacts, after: KeyFacts) -> bool:
    """Whether the inputs differ."""
    return before.parts.get("inputs") != after.parts.get("inputs")


def of_files(before: Mapping[str, ListedFile], after: Mapping[str, ListedFile]) -> list[Difference]:
    """The files in which two listings differ."""
    return list(_between("file", before, after, tells=False))


def nearest(entries: Iterable[CommitEntry], now: KeyFacts) -> tuple[CommitEntry, list[Difference]] | None:
    """The commit whose key has the fewest differing parts, of several the newest; None if none has a key.

    Args:
        entries: newest first.
    """
    best = None
    for entry in entries:
        facts = facts_of(entry)
        if facts is None:
            continue
        found = differences(facts, now)
        count = len(found) + have_other_files(facts, now)
        if best is None or count < best[0]:
            best = (count, entry, found)
    return None if best is None else best[1:]


def in_words(found: Sequence[Difference]) -> str:
    """Differences in one sentence's part, each kind shortened."""
    kinds: dict[Part, list[Difference]] = {}
    for difference in found:
        kinds.setdefault(difference.part, []).append(difference)
    told = []
    for group in kinds.values():
        more = len(group) - SHOWN
        told += [each.text for each in group[:SHOWN]] + ([f"{more} more"] if more > 0 else [])
    return ", ".join(told)


def _of_params(before: JsonObject | None, after: JsonObject | None) -> list[Difference]:
    found = [] if before is None or after is None else list(_between("param", before, after, tells=True))
    return found or [Difference("param", "", "changed")]


def _between(part: Part, before: Mapping[str, Any], after: Mapping[str, Any], *, tells: bool) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Difference(part, name, "added")
        elif name not in after:
            yield Difference(part, name, "gone")
        elif before[name] != after[name] or (tells and canonical_json(before[name]) != canonical_json(after[name])):
            old, new = (_shortened(values[name]) if tells else None for values in (before, after))
            yield Difference(part, name, "changed", old, new)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
