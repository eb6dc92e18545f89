"""The checker finds each kind of broken promise in a history that was made up to have it."""

from dataclasses import replace

import pytest

from perago.values.history import CommitFacts, Stamp
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from simulation.checker import Call, Observation, violations

ROOT = "0" * 40
RESULT = {"said": "hello"}
UNFENCED = ("load_current_attempt", "stage_workspace", "publish_workspace")


def commit_id(number: int) -> str:
    return str(number) * 40


def stamp(number: int, *, task: str = "say", base: str = ROOT, **values: object) -> Stamp:
    made = Stamp(
        task=task,
        workflow_instance_id="wf",
        reference_task_name=task,
        task_id=f"{task}-1",
        retry_count=0,
        scheduled_time=1,
        poll_count=1,
        execution_id=f"execution-{number}",
        input_ref=base,
        expected_head=commit_id(number - 1),
        params_digest="p",
        code_digest="c",
        result_digest="r",
        result=RESULT,
        result_exact=True,
    )
    return replace(made, **values)


def published(number: int, **values: object) -> CommitFacts:
    return CommitFacts(commit_id(number), commit_id(number - 1), stamp(number, **values))


def by_hand(number: int) -> CommitFacts:
    return CommitFacts(commit_id(number), commit_id(number - 1), author="Grace")


def completed(ref: str, *, task: str = "say", number: int = 1, result: object = RESULT) -> TryRecord:
    return TryRecord(
        task_id=f"{task}-{number}",
        reference_task_name=task,
        retry_count=number - 1,
        scheduled_time=number,
        poll_count=1,
        status=TryStatus.COMPLETED,
        input_refs=(ROOT,),
        output={"workspace": {"ref": ref}, "result": result},
    )


def seen(*commits: CommitFacts, tries: tuple[TryRecord, ...] = (), **values: object) -> Observation:
    """A branch with these commits, oldest first; each commit's one file is named after it."""
    line = tuple(reversed(commits))
    names = [ROOT, *(commit.id for commit in commits)]
    content = {name: dict.fromkeys(names[: number + 1], b"") for number, name in enumerate(names)}
    made = Observation(
        root=ROOT, line=line, heads=names, records=(InstanceRecord("wf", tries),), files=content.__getitem__
    )
    return replace(made, **values)


def test_a_sound_history_breaks_nothing():
    seal = CommitFacts(commit_id(2), commit_id(1), stamp(2, completes=commit_id(1)), empty=True)
    calls = [Call("e", port, True) for port in ("stage_workspace", "load_current_attempt", "publish_workspace")]
    assert violations(seen(published(1), seal, tries=(completed(commit_id(1)),), calls=calls)) == []


def test_a_person_may_commit_before_the_input_and_after_the_outcome():
    line = by_hand(1), published(2, base=commit_id(1)), by_hand(3)
    tries = (replace(completed(commit_id(2)), input_refs=(commit_id(1),)),)
    assert violations(seen(*line, tries=tries)) == []


def test_an_abandoned_publication_may_be_replaced():
    line = published(1), published(2), published(3, task="other"), published(4)
    assert violations(seen(*line, tries=(completed(commit_id(4)),))) == []


def test_a_task_may_complete_with_its_input():
    assert violations(seen(tries=(completed(ROOT),))) == []


def unmerged() -> Observation:
    content = {ROOT: {}, commit_id(1): {"theirs": b"1"}, commit_id(2): {"ours": b"2"}}
    return seen(by_hand(1), published(2), files=content.__getitem__, snapshot=("say",))


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (seen(heads=[ROOT, commit_id(7)]), "lost: 777777777777 was the head once"),
        (seen(by_hand(1), published(2)), "replaces the foreign commit 111111111111 (Grace)"),
        (seen(published(1, workflow_instance_id="another"), published(2)), "replaces the foreign commit"),
        (
            seen(published(1, task="other"), published(2), tries=(completed(commit_id(1), task="other"),)),
            "replaces the foreign commit",
        ),
        (unmerged(), "overwrites 'theirs'"),
        (seen(published(1, base=commit_id(9))), "its input 999999999999 is not below it"),
        (seen(published(1), published(2, execution_id="execution-1")), "execution execution-1 published twice"),
        (
            seen(published(1), tries=(completed(ROOT), completed(commit_id(1), number=2))),
            "task 'say' completed twice",
        ),
        (seen(tries=(completed(commit_id(9)),)), "which is not in the history"),
        (seen(by_hand(1), tries=(completed(commit_id(1)),)), "which is not of its logical task"),
        (
            seen(published(1), published(2, base=commit_id(1)), tries=(completed(commit_id(2)),)),
            "which was made from another input",
        ),
        (seen(published(1), tries=(completed(commit_id(1), result={"said": "x"}),)), "another result than its stamp"),
        (seen(published(1), published(2), tries=(completed(commit_id(1)),)), "was published over the outcome"),
        (seen(published(1, completes=ROOT)), "has content of its own"),
        (seen(calls=[Call("e", "publish_workspace", True)]), "without having seen"),
        (
            seen(calls=[Call("e", port, True) for port in UNFENCED]),
            "without having seen",
        ),
        (
            seen(calls=[Call("e", "load_current_attempt", False), Call("e", "publish_workspace", False)]),
            "without having seen",
        ),
        (seen(left=["perago-x"]), "left behind: perago-x"),
    ],
)
def test_a_broken_promise_is_told(observation, expected):
    found = violations(observation)
    assert expected in "\n".join(found)
