from __future__ import annotations

import logging
import os
import sys

import pytest

from perago import (
    MetricRecorder,
    TaskDefinitionError,
    TaskExecutionError,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
)
from perago.errors import TaskCancelledError, TaskTimeoutError
from perago.worker.process.messages import MAX_MESSAGE_BYTES

LINUX = sys.platform == "linux"
SECRET = "hunter2-in-params"


def test_the_body_works_on_the_workspace_in_a_process_session_and_group_of_its_own(bodies, tmp_path):
    value = bodies.run("say_where", {"text": "hello"}, workspace=tmp_path)["value"]
    assert (tmp_path / "out.txt").read_text() == "hello"
    assert value["pid"] != os.getpid()
    assert value["session"] != os.getsid(0)
    assert value["group"] != os.getpgid(0)


def test_the_body_finds_modules_and_files_where_the_caller_does(bodies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    value = bodies.run("say_where", workspace=tmp_path)["value"]
    assert value["cwd"] == str(tmp_path)
    assert value["path"] == sys.path


def test_the_body_runs_where_the_callers_directory_is_gone(bodies, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert bodies.run("return_text", {"text": "fine"}) == {"value": "fine"}


def test_the_body_learns_which_attempt_it_is(bodies, tmp_path):
    value = bodies.run("say_where", workspace=tmp_path)["value"]
    assert (value["task_id"], value["execution_id"]) == ("task-1", "execution-1")


def test_secrets_reach_the_body_but_neither_command_line_nor_environment(bodies, tmp_path):
    value = bodies.run("say_where", {"secret": SECRET}, workspace=tmp_path)["value"]
    assert value["secret"] == SECRET[::-1]
    assert SECRET not in value["argv"]
    assert SECRET not in value["environment"]


def test_what_the_body_prints_goes_to_stderr(bodies, capfd):
    assert bodies.run("print_and_return") == {"value": "returned"}
    out, err = capfd.readouterr()
    assert out == ""
    assert "printed by the body" in err
    assert "written to descriptor 1" in err
    assert "printed by a program" in err


def test_an_async_body_is_run_to_its_end(bodies):
    assert bodies.run("wait_async") == {"value": "waited"}


@pytest.mark.parametrize("size", [0, 1_000_000, 20_000_000])
def test_params_and_results_of_any_size_pass(bodies, size):
    text = "y" * size
    assert bodies.run("return_text", {"text": text, "size": size}) == {"value": text + "x" * size}


@pytest.mark.parametrize("text", ["ünï", "\U0001f427", "\x00", '"\n'])
def test_texts_come_back_as_they_went(bodies, text):
    assert bodies.run("return_text", {"text": text}) == {"value": text}


def test_a_result_that_is_too_large_fails_and_says_what_to_do(bodies):
    with pytest.raises(TaskExecutionError, match="put the data into files of the workspace"):
        bodies.run("return_text", {"size": MAX_MESSAGE_BYTES})


def test_params_that_are_no_json_are_refused(bodies):
    with pytest.raises(TaskInputError, match="cannot be passed to the body"):
        bodies.run("return_text", {"text": "x", "ignored": object()})


def test_progress_comes_in_order_and_its_last_word_always(bodies):
    bodies.run("report", {"size": 1000})
    done = [entry[0] for entry in bodies.progress]
    assert done == sorted(done)
    assert bodies.progress[-1] == (999, 1000, "step 999")
    assert len(done) < 100


def test_log_records_come_to_the_callers_loggers(bodies, caplog):
    with caplog.at_level(logging.WARNING):
        bodies.run("report", {"text": "penguins"})
    (record,) = [record for record in caplog.records if record.name == "bodies"]
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "careful with penguins")
    assert (record.filename, record.funcName) == ("worker_bodies.py", "report")
    assert "nobody asked for this" not in caplog.text


def test_the_callers_log_settings_hold_in_the_body(bodies, caplog):
    with caplog.at_level(logging.INFO, "bodies.quiet"):
        bodies.run("report")
    assert ("bodies.quiet", logging.INFO, "nobody asked for this") in caplog.record_tuples


def test_the_contexts_logger_brings_its_fields(bodies, caplog):
    with caplog.at_level(logging.INFO):
        bodies.run("log_fields")
    (record,) = [record for record in caplog.records if record.name == "perago.task.log_fields"]
    assert record.getMessage().startswith("read rows=3")
    assert (record.event, record.fields) == ("read", {"rows": 3, "path": "/tmp"})
    assert record.attempt["execution_id"] == "execution-1"


def test_a_process_that_did_not_ask_for_logs_gets_none(bodies, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    bodies.run("log_fields", {"text": "warn"})
    assert "read" not in capfd.readouterr().err


def test_metrics_come_to_the_callers_recorder(bodies):
    recorded = []

    class Recorder(MetricRecorder):
        def deliver(self, *metric):
            recorded.append(metric)

    bodies.run("measure", metrics=Recorder())
    assert recorded == [("gauge", "rows", 3.0, {"kind": "clean"}), ("histogram", "age", 1.5, {})]


def test_metrics_that_nobody_takes_are_dropped(bodies):
    assert bodies.run("measure") == {"value": None}


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("failed", TaskFailed, "try me again"),
        ("terminal", TaskTerminalError, "never again"),
        ("own", TaskTerminalError, "^spent\n"),
        ("number", TaskTerminalError, "^5\n"),
        ("spoilt", TaskTerminalError, "^Spoilt\n"),
        ("crooked", TaskTerminalError, "^crooked\n"),
        ("exit", TaskExecutionError, "sys.exit"),
        ("interrupt", TaskExecutionError, "KeyboardInterrupt"),
        ("result", TaskExecutionError, "unknown"),
        ("", TaskExecutionError, "LookupError: .*no such thing"),
    ],
)
def test_an_error_in_the_body_is_the_same_error_here(bodies, text, error, reason):
    with pytest.raises(error, match=reason) as caught:
        bodies.run("fail", {"text": text})
    assert type(caught.value) is error


def test_an_error_brings_the_bodys_traceback_as_a_note_and_no_secret(bodies):
    with pytest.raises(TaskExecutionError) as caught:
        bodies.run("fail")
    (note,) = caught.value.__notes__
    assert "worker_bodies.py" in note
    assert "in fail" in note
    assert "hunter2" not in note + str(caught.value)
    assert "worker_bodies.py" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"size": 0}, "exited with code 0"),
        ({"size": 7}, "exited with code 7"),
        ({"text": "close"}, "the body closed descriptors that it did not open"),
        ({"text": "SIGSEGV"}, "SIGSEGV"),
        ({"text": "SIGKILL"}, "SIGKILL.*out of memory"),
        ({"text": "SIGTERM"}, "SIGTERM"),
        pytest.param({"text": "40"}, "signal 40", marks=pytest.mark.skipif(not LINUX, reason="only Linux has it")),
    ],
)
def test_the_death_of_the_body_is_told_with_its_cause(bodies, params, words):
    with pytest.raises(TaskExecutionError, match=words) as caught:
        bodies.run("die", params)
    assert not isinstance(caught.value, TaskCancelledError | TaskTimeoutError)


def test_a_fork_of_the_body_is_mute(bodies):
    assert bodies.run("fork") == {"value": "the body's"}
    assert bodies.progress == []


@pytest.mark.skipif(not LINUX, reason="the body finds its sockets in /proc")
@pytest.mark.parametrize("text", ["", "[]", '{"kind": "start"}', '{"kind": "result", "result": 1}'])
def test_a_body_that_writes_rubbish_to_the_channel_fails(bodies, text):
    with pytest.raises(TaskExecutionError, match="an invalid message"):
        bodies.run("corrupt", {"text": text})


@pytest.mark.skipif(not LINUX, reason="the body finds its sockets in /proc")
def test_an_error_of_a_class_that_is_not_ours_is_a_failed_execution(bodies):
    forged = '{"kind": "failure", "error": "__doc__", "reason": "forged"}'
    with pytest.raises(TaskExecutionError, match="forged"):
        bodies.run("corrupt", {"text": forged})


def test_a_target_that_cannot_be_loaded_there_fails_as_it_would_here(bodies):
    call = bodies.call("return_text")
    with pytest.raises(TaskDefinitionError, match="not_there"):
        bodies.run_target("worker_bodies:not_there", call)


def test_what_a_receiver_of_progress_raises_ends_the_body_and_is_raised(bodies):
    def refuse(*_):
        raise LookupError("no more")

    bodies.on_progress = refuse
    with pytest.raises(LookupError, match="no more"):
        bodies.run("ignore_everything")


def test_no_process_can_be_started(bodies, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(TaskExecutionError, match="could not be started"):
        bodies.run("return_text")
