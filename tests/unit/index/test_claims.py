"""What a commit says of others, in its stamp and in the messages of git and lakeFS."""

from __future__ import annotations

import pytest

from perago.index.claims import Judgement, judgements_of, replaced_by, reverted_by
from tests.unit.index.made_history import entry, id_of, stamp

LONG, SHORT = id_of("long", 64), id_of("short", 40)


@pytest.mark.parametrize(
    ("subject", "message", "names"),
    [
        ('Revert "train: +1"', f"This reverts commit {SHORT}.", {SHORT}),
        ('Reapply "train: +1"', f"This reverts commit {SHORT}.", {SHORT}),
        ('Revert "train: +1"', f"This reverts commit {SHORT[:7]} (train: +1, 2026-01-01).", {SHORT[:7]}),
        ('Revert "merge"', f"This reverts commit {SHORT}, reversing\nchanges made to {LONG}.", {SHORT}),
        ("two at once", f"This reverts commit {SHORT}.\n\nThis reverts commit {LONG}.", {SHORT, LONG}),
        (f"This reverts commit {LONG}", "", {LONG}),
        ("wrapped", f"This reverts commit\n{LONG}", {LONG}),
        (f"Revert {LONG}", "", {LONG}),
        (f"Revert {LONG[:8]} ", "", {LONG[:8]}),
        ("Revert main", "", set()),
        (f"Revert {LONG}~1", "", set()),
        (f"Do not Revert {LONG}", "", set()),
        (f"Revert {LONG[:6]}", f"This reverts commit {LONG[:6]}.", set()),
        (f"Revert {LONG}0", f"This reverts commit {LONG}0.", set()),
        (f"This reverts commit {LONG.upper()}", "", set()),
        ("train: +1", "", set()),
    ],
)
def test_reverts(subject, message, names):
    assert reverted_by(entry("r", subject=subject, message=message)) == names


def test_a_stamp_replaces_and_judges():
    assert replaced_by(entry("a", stamp=stamp(abandoned=(LONG, SHORT)))) == (LONG, SHORT)
    assert list(judgements_of(entry("a", stamp=stamp(distrusts=LONG)))) == [Judgement(LONG, is_trusted=False)]
    assert list(judgements_of(entry("a", stamp=stamp(trusts=LONG)))) == [Judgement(LONG, is_trusted=True)]


def test_without_a_stamp_there_is_nothing_to_say():
    assert replaced_by(entry("a")) == ()
    assert list(judgements_of(entry("a"))) == []
