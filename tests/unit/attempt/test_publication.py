"""What becomes of the branch, whatever races, dies or is retried. The store and the engine are the in-memory ones."""

import pytest

from attempt_world import World, nothing, ref_of, said_of, with_params
from perago.ports import Phase


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "root")


@pytest.fixture
def snapshot(tmp_path):
    return World(tmp_path / "root", isolation="snapshot")


@pytest.fixture
def exclusive(tmp_path):
    return World(tmp_path / "root", isolation="exclusive")


@pytest.fixture
def scoped(tmp_path):
    """Its task sees what `data` has, except logs."""
    world = World(tmp_path / "root", prefix="data", exclude=["*.log"])
    world.input_ref = world.store.commit("main", {"data/in.txt": "input"})
    return world


def test_a_retry_adopts_what_its_predecessor_published_and_the_body_does_not_run_again(world):
    world.schedule()
    first = world.poll()
    world.result = "the first time"
    published = ref_of(world.attempt(first, report=False))
    world.engine.timeout(first.task_id)
    world.result = "the second time"
    with world.nothing_left():
        result = world.attempt(world.poll())
    assert ref_of(result) == published
    assert said_of(result) == "the first time"
    assert world.runs == 1
    seal = world.store.stamp_of(world.head)
    assert seal.completes == published
    assert world.line[1:] == [published, world.input_ref]


def test_a_zombie_that_comes_late_finds_its_retry_sealed(world):
    world.schedule()
    first = world.poll()

    def the_retry_is_faster():
        world.engine.timeout(first.task_id)
        second = world.attempt(world.poll())
        assert second.status == "COMPLETED"

    world.at[(Phase.STAGE, "completed")] = the_retry_is_faster
    with world.nothing_left():
        result = world.attempt(first)
    assert result.status == "FAILED"
    assert len(world.line) == 2
    assert world.engine.status() == "COMPLETED"


def test_a_swap_of_a_zombie_cannot_land_after_an_adoption(world):
    """The zombie passed both fences; its swap comes after the retry adopted an older publication."""
    world.schedule()
    first = world.poll()
    published = ref_of(world.attempt(first, report=False))
    world.engine.requeue(first.task_id)
    again = world.poll()
    staged = []

    def stage_only(workspace_dir, workspace_input, spec, execution):
        commit = world.store.stage_workspace(workspace_dir, workspace_input, spec, execution)
        staged.append((commit, workspace_input, spec, execution))
        raise RuntimeError("stalls here")

    world.attempt(again, report=False, read_history=None, stage_workspace=stage_only)
    world.engine.timeout(first.task_id)
    assert ref_of(world.attempt(world.poll())) == published
    head = world.head
    for arguments in staged:
        with pytest.raises(Exception, match="moved"):
            world.store.publish_workspace(*arguments)
    assert world.head == head


def test_a_retry_with_other_params_replaces_and_loses_nothing(world):
    world.schedule()
    first = world.poll()
    world.body = lambda workspace, params: [(workspace / name).write_text("1") for name in ("a", "b")]
    left = ref_of(world.attempt(first, report=False))
    world.engine.timeout(first.task_id)
    second = world.poll()
    world.body = lambda workspace, params: (workspace / "a").write_text("2")
    second = with_params(second, text="other")
    with world.nothing_left():
        result = world.attempt(second)
    assert world.files == {"in.txt": b"input", "a": b"2"}
    assert world.line == [ref_of(result), left, world.input_ref]
    assert world.store.stamp_of(world.head).abandoned == (left,)


def test_a_rerun_computes_anew_and_replaces(world):
    world.schedule()
    first = world.poll()
    before = ref_of(world.attempt(first))
    world.engine.rerun(first.task_id)
    world.result = "anew"
    result = world.attempt(world.poll())
    assert said_of(result) == "anew"
    assert world.runs == 2
    assert world.line == [ref_of(result), before, world.input_ref]


def test_a_restart_computes_anew_and_replaces(world):
    world.schedule()
    before = ref_of(world.attempt(world.poll()))
    world.engine.restart()
    result = world.attempt(world.poll())
    assert world.runs == 2
    assert world.line == [ref_of(result), before, world.input_ref]


def test_a_person_s_commit_since_the_input_is_refused_before_the_body(world):
    world.schedule()
    theirs = world.person(their_txt="mine")
    with world.nothing_left():
        result = world.attempt(world.poll())
    assert result.status == "FAILED"
    assert "Grace" in result.reason_for_incompletion
    assert world.runs == 0
    assert world.head == theirs


@pytest.mark.parametrize("moment", [(Phase.BODY, "completed"), (Phase.STAGE, "completed"), (Phase.PUBLISH, "started")])
def test_a_person_s_commit_made_meanwhile_is_kept_and_told(world, moment):
    world.schedule()
    world.at[moment] = lambda: world.person(their_txt="mine")
    with world.nothing_left():
        result = world.attempt(world.poll())
    assert result.status == "FAILED"
    assert "Not published" in result.reason_for_incompletion
    assert world.files == {"in.txt": b"input", "their.txt": b"mine"}


MOMENTS = [(Phase.DECIDE, "started"), (Phase.BODY, "completed"), (Phase.STAGE, "completed"), (Phase.PUBLISH, "started")]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("path", ["other/x.txt", "data2/x.txt", "data/new.log", "top.txt"])
def test_a_commit_to_what_the_task_cannot_see_is_merged_with(scoped, moment, path):
    scoped.schedule()
    scoped.at[moment] = lambda: scoped.store.commit("main", {path: "theirs"}, "Grace")
    with scoped.nothing_left():
        result = scoped.attempt(scoped.poll())
    assert ref_of(result) == scoped.head
    assert scoped.runs == 1
    assert {path: content for path, content in scoped.files.items() if path != "in.txt"} == {
        "data/in.txt": b"input",
        "data/out.txt": b"hello",
        path: b"theirs",
    }


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("edit", [{"data/in.txt": "theirs"}, {"data/in.txt": None}, {"data/new.txt": "theirs"}])
def test_a_commit_to_what_the_task_could_see_is_refused_and_the_path_told(scoped, moment, edit):
    scoped.schedule()
    theirs = []
    scoped.at[moment] = lambda: theirs.append(scoped.store.commit("main", edit, "Grace"))
    with scoped.nothing_left():
        result = scoped.attempt(scoped.poll())
    assert result.status == "FAILED"
    assert f"could see, {next(iter(edit))!r}: {theirs[0][:12]} by Grace" in result.reason_for_incompletion
    assert scoped.head == theirs[0]
    assert scoped.runs == (0 if moment[0] is Phase.DECIDE else 1)


def test_what_was_taken_back_refuses_nobody(scoped):
    scoped.schedule()
    scoped.store.commit("main", {"data/in.txt": "theirs", "data/new.txt": "theirs"})
    scoped.store.commit("main", {"data/in.txt": "input", "data/new.txt": None})
    assert ref_of(scoped.attempt(scoped.poll())) == scoped.head


def test_a_no_op_completes_beside_what_it_cannot_see_and_not_beside_what_it_could(scoped):
    scoped.body = nothing
    scoped.schedule("one")
    scoped.at[(Phase.BODY, "completed")] = lambda: scoped.store.commit("main", {"top.txt": "theirs"})
    assert ref_of(scoped.attempt(scoped.poll())) == scoped.input_ref
    scoped.schedule("two")
    scoped.at[(Phase.BODY, "completed")] = lambda: scoped.store.commit("main", {"data/new.txt": "theirs"})
    assert "'data/new.txt'" in scoped.attempt(scoped.poll()).reason_for_incompletion


@pytest.mark.parametrize("path", ["other.txt", "in.txt"])
def test_an_exclusive_task_is_refused_by_any_commit(exclusive, path):
    exclusive.schedule()
    exclusive.at[(Phase.BODY, "completed")] = lambda: exclusive.store.commit("main", {path: "theirs"}, "Grace")
    with exclusive.nothing_left():
        result = exclusive.attempt(exclusive.poll())
    assert "has commits that this attempt has not seen" in result.reason_for_incompletion


@pytest.mark.parametrize("moment", [(Phase.BODY, "completed"), (Phase.STAGE, "completed"), (Phase.PUBLISH, "started")])
def test_in_snapshot_isolation_it_is_merged_with(snapshot, moment):
    snapshot.schedule()
    snapshot.at[moment] = lambda: snapshot.person(their_txt="mine")
    with snapshot.nothing_left():
        result = snapshot.attempt(snapshot.poll())
    assert ref_of(result) == snapshot.head
    assert snapshot.files == {"in.txt": b"input", "their.txt": b"mine", "out.txt": b"hello"}
    assert snapshot.runs == 1


def test_in_snapshot_isolation_the_first_committer_of_a_path_wins(snapshot):
    snapshot.schedule()
    snapshot.at[(Phase.BODY, "completed")] = lambda: snapshot.person(out_txt="mine")
    with snapshot.nothing_left():
        result = snapshot.attempt(snapshot.poll())
    assert result.status == "FAILED"
    assert "out.txt" in result.reason_for_incompletion
    assert snapshot.files["out.txt"] == b"mine"


def test_two_branches_of_a_fork_both_publish_in_snapshot_isolation(snapshot):
    snapshot.schedule("left")
    snapshot.schedule("right")
    left, right = snapshot.poll(), snapshot.poll()
    snapshot.body = lambda workspace, params: (workspace / "left").write_text("l")
    snapshot.attempt(left)
    snapshot.body = lambda workspace, params: (workspace / "right").write_text("r")
    snapshot.attempt(right)
    assert snapshot.files == {"in.txt": b"input", "left": b"l", "right": b"r"}


def test_the_second_branch_of_a_fork_is_refused_in_serializable_isolation(world):
    world.schedule("left")
    world.schedule("right")
    left, right = world.poll(), world.poll()
    published = ref_of(world.attempt(left))
    result = world.attempt(right)
    assert "say" in result.reason_for_incompletion
    assert world.head == published


def test_a_task_after_a_sealed_one_publishes_over_the_seal(world):
    world.schedule("first")
    attempt = world.poll()
    published = ref_of(world.attempt(attempt, report=False))
    world.engine.timeout(attempt.task_id)
    world.attempt(world.poll())
    world.input_ref = published
    world.schedule("second", after=("first",))
    world.body = lambda workspace, params: (workspace / "more.txt").write_text("more")
    result = world.attempt(world.poll())
    assert world.files == {"in.txt": b"input", "out.txt": b"hello", "more.txt": b"more"}
    assert ref_of(result) == world.head


def test_a_no_op_leaves_the_branch_alone(world):
    world.schedule()
    world.body = nothing
    with world.nothing_left():
        result = world.attempt(world.poll())
    assert ref_of(result) == world.input_ref == world.head


def test_a_no_op_of_a_retry_is_sealed(world):
    world.schedule()
    world.engine.timeout(world.poll().task_id)
    world.body = nothing
    result = world.attempt(world.poll())
    assert ref_of(result) == world.input_ref
    assert world.store.stamp_of(world.head).completes == world.input_ref
    assert world.files == {"in.txt": b"input"}


def test_a_no_op_that_follows_an_abandoned_publication_restores_the_input(world):
    world.schedule()
    first = world.poll()
    world.attempt(first, report=False)
    world.engine.timeout(first.task_id)
    second = with_params(world.poll(), text="other")
    world.body = nothing
    result = world.attempt(second)
    assert ref_of(result) == world.head
    assert world.files == {"in.txt": b"input"}
    assert len(world.line) == 3


def test_a_no_op_beside_a_person_s_commit_is_refused(world):
    world.schedule()
    world.body = nothing
    world.at[(Phase.BODY, "completed")] = lambda: world.person(their_txt="mine")
    assert world.attempt(world.poll()).status == "FAILED"


def test_a_read_only_task_does_not_care_who_commits(tmp_path):
    world = World(tmp_path / "root", read_only=True)
    world.schedule()
    world.person(their_txt="mine")
    result = world.attempt(world.poll())
    assert ref_of(result) == world.input_ref


def test_a_publication_whose_answer_is_lost_is_adopted_by_the_next_try(world):
    world.schedule()

    def publish_and_lose_the_answer(*arguments):
        world.store.publish_workspace(*arguments)
        raise ConnectionError("cut")

    first = world.attempt(world.poll(), publish_workspace=publish_and_lose_the_answer)
    assert first.status == "FAILED"
    published = world.head
    assert ref_of(world.attempt(world.poll())) == published
    assert world.runs == 1


@pytest.mark.parametrize("event", ["terminate", "timeout", "requeue"])
@pytest.mark.parametrize("moment", [(Phase.BODY, "completed"), (Phase.STAGE, "completed")])
def test_an_attempt_that_lost_its_task_publishes_nothing(world, event, moment):
    world.schedule()
    attempt = world.poll()
    lose = {
        "terminate": world.engine.terminate,
        "timeout": lambda: world.engine.timeout(attempt.task_id),
        "requeue": lambda: world.engine.requeue(attempt.task_id),
    }
    world.at[moment] = lose[event]
    with world.nothing_left():
        result = world.attempt(attempt, report=False)
    assert result.status == "FAILED"
    assert world.line == [world.input_ref]


def test_the_seed_s_callables_alone_publish_and_refuse_what_is_between(world):
    world.schedule()
    alone = {"read_history": None, "load_record": None}
    attempt = world.poll()
    published = ref_of(world.attempt(attempt, report=False, **alone))
    assert world.head == published
    world.engine.timeout(attempt.task_id)
    result = world.attempt(world.poll(), **alone)
    assert result.status == "FAILED"
    assert "Not published" in result.reason_for_incompletion
    assert world.head == published


def test_the_seed_s_callables_alone_go_back_to_the_head_when_a_swap_is_lost(world):
    world.schedule()
    world.at[(Phase.PUBLISH, "started")] = lambda: world.person(their_txt="mine")
    result = world.attempt(world.poll(), read_history=None, load_record=None)
    assert "Grace" in result.reason_for_incompletion
    assert world.files == {"in.txt": b"input", "their.txt": b"mine"}


ALONE = {"read_history": None, "load_record": None}


def test_a_no_op_of_a_later_delivery_asks_the_seed_s_callable_for_its_commit(world):
    world.schedule()
    world.body = nothing
    first = world.poll()
    world.engine.requeue(first.task_id)
    again = world.poll()
    assert again.poll_count > 1
    assert ref_of(world.attempt(again, **ALONE, complete_noop_workspace=lambda *_: "f" * 40)) == "f" * 40
    assert world.line == [world.input_ref]


def test_a_join_is_not_resolved_without_the_history(world):
    refs = [world.input_ref, world.person(their_txt="theirs")]
    given = [world.store.input(ref=ref).model_dump() for ref in refs]
    world.engine.schedule("say", {"workspace": {"join": given}, "params": {}})
    result = world.attempt(world.poll(), **ALONE)
    assert "pass the store's read_history" in result.reason_for_incompletion


def refused_beside_a_person(world, **callables):
    world.schedule()
    world.person(their_txt="theirs")
    result = world.attempt(world.poll(), **callables)
    assert "Not published" in result.reason_for_incompletion
    return result.reason_for_incompletion.partition("Run the task again from the current head")[2]


def test_a_refusal_advises_what_would_have_helped(exclusive):
    assert refused_beside_a_person(exclusive) == (
        ", or declare isolation='serializable' to merge with changes to what the task cannot see"
    )


@pytest.mark.parametrize("isolation", ["serializable", "snapshot", "exclusive"])
def test_a_task_that_cannot_tell_what_it_could_see_is_alone_or_refused(tmp_path, isolation):
    world = World(tmp_path / "root", isolation=isolation)
    world.schedule()
    world.person(their_txt="theirs")
    result = world.attempt(world.poll(), validate_reads=None)
    assert result.status == ("COMPLETED" if isolation == "snapshot" else "FAILED")
    told = "pass read_history= and validate_reads= to the attempt" in (result.reason_for_incompletion or "")
    assert told == (isolation == "serializable")


@pytest.mark.parametrize("body", [None, nothing], ids=["writes", "changes nothing"])
def test_a_refusal_without_the_history_says_what_a_merge_takes(snapshot, body):
    snapshot.body = body or snapshot.body
    assert refused_beside_a_person(snapshot, **ALONE) == (
        ". To merge with changes to other paths, pass read_history= and validate_reads= to the attempt"
    )


def test_a_stamp_says_who_made_it_from_what_with_what_result(world):
    world.schedule()
    attempt = world.poll()
    world.attempt(attempt, execution_id="exec1", owner_worker_id="worker-1")
    stamp = world.store.stamp_of(world.head)
    assert (stamp.task, stamp.reference_task_name, stamp.worker) == ("say", "say", "worker-1")
    assert (stamp.workflow_instance_id, stamp.task_id) == (attempt.workflow_instance_id, attempt.task_id)
    assert (stamp.scheduled_time, stamp.poll_count) == (attempt.scheduled_time, attempt.poll_count)
    assert (stamp.execution_id, stamp.input_ref, stamp.expected_head) == ("exec1", world.input_ref, world.input_ref)
    assert (stamp.params, stamp.result, stamp.result_exact) == ({"text": "hello"}, {"said": "hello"}, True)
    assert stamp.started_at.endswith("+00:00")
    assert stamp.duration_ms >= 0


def test_a_copy_of_a_publication_on_another_branch_is_a_person_s(world):
    """Its parent and its content are the original's; only the branch tells."""
    world.schedule("left")
    world.schedule("right")
    left, right = world.poll(), world.poll()
    published = ref_of(world.attempt(left))
    stamp = world.store.stamp_of(published)
    assert stamp.branch == "main"
    history = world.store.read_history(world.store.input(ref=world.input_ref))
    assert history.on_branch("main") == history
    assert [commit.stamp for commit in history.on_branch("draft").commits] == [None]
    assert "say" in world.attempt(right).reason_for_incompletion


def test_a_body_whose_exception_cannot_say_its_message_is_a_failed_attempt(world):
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def fail(workspace, params):
        raise Mute

    world.schedule()
    world.body = fail
    with world.nothing_left():
        result = world.attempt(world.poll())
    assert (result.status, result.reason_for_incompletion) == ("FAILED", "Mute")
