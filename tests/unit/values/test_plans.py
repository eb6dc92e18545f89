"""What a refusal says: commits, or the paths that a task could see and others have changed."""

from dataclasses import replace
from datetime import UTC, datetime

from perago.errors import PublishFenceError, UnsettledFenceError
from perago.testing.contract.bench import make_stamp
from perago.values.history import CommitFacts, Conflict, Merge, Refuse
from perago.values.plans import conflict, refusal

ADA = CommitFacts("a" * 40, "0" * 40, author="ada", subject="new prices")
AT = datetime(2026, 11, 27, 18, 40, tzinfo=UTC)


def test_a_refusal_for_a_conflict_names_the_paths_and_whose_commits_they_are():
    refuse = Refuse("f" * 40, (ADA,), conflict=Conflict({"data/prices.csv": (ADA.id,)}))
    error = refusal(refuse, "main", "0" * 40)
    assert type(error) is PublishFenceError
    assert "could see, 'data/prices.csv': aaaaaaaaaaaa by ada (new prices)" in str(error)
    assert str(error).endswith("Run the task again from the current head, or narrow its prefix or patterns")


def test_a_refusal_says_whose_commits_there_are_and_when_they_were_made():
    stamp = replace(make_stamp("0" * 40, 7), expected_head="0" * 40)
    task = CommitFacts("b" * 40, "0" * 40, stamp, time=AT)
    said = str(refusal(Refuse("f" * 40, (replace(ADA, time=AT), task)), "main", "0" * 40))
    assert "aaaaaaaaaaaa by ada at 2026-11-27 18:40:00 +0000 (new prices); " in said
    assert "bbbbbbbbbbbb published by task 'build' (workflow wf-7) at 2026-11-27 18:40:00 +0000 (input" in said


def test_a_long_conflict_is_listed_in_part():
    many = {f"{number:02}": (ADA.id,) for number in range(12)}
    error = refusal(Refuse("f" * 40, (ADA,), True, Conflict(many)), "main", "0" * 40)
    assert type(error) is UnsettledFenceError
    assert "'08', '09', and 2 more:" in str(error)
    assert Conflict(many).commits == {ADA.id}


def test_a_conflict_with_a_commit_that_was_not_looked_for_says_how_old_it_is():
    commits = tuple(replace(ADA, id=f"{number:040x}") for number in range(101))
    plan = Merge(commits[-1].id, tuple(commit.id for commit in commits), commits=commits)
    assert "theirs is in a commit before the newest 100. Run" in str(conflict(Conflict({"a": ()}), plan))
