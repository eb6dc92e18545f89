"""Who gets the log records of a process that sends them on."""

from __future__ import annotations

import logging
import sys

import pytest

from perago.worker.process.outbox import is_received, prints, receive_logs


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def told(self) -> list[tuple[str, bool]]:
        """Each line, and whether a handler of the process would have printed it."""
        return [(record.getMessage(), hasattr(record, "perago_printed")) for record in self.records]


class Printing(logging.Handler):
    """Stands for one that prints; pytest has the real stderr."""

    class stream:
        @staticmethod
        def fileno() -> int:
            return 2

    def emit(self, record: logging.LogRecord) -> None:
        pytest.fail("what is printed would be shown twice")


@pytest.fixture
def receiver():
    kept = Kept()
    before = receive_logs(kept)
    yield kept
    receive_logs(before)


@pytest.fixture
def logger():
    made = logging.getLogger("outbox.test")
    made.setLevel(logging.DEBUG)
    yield made
    made.handlers.clear()


def test_a_handler_that_prints_leaves_its_lines_to_the_receiver(receiver, logger):
    other = Kept()
    logger.addHandler(Printing())
    logger.addHandler(other)
    logger.info("a line")
    assert receiver.told == [("a line", True)]
    assert [line for line, _ in other.told] == ["a line"]


def test_a_line_that_its_filter_rejects_would_not_have_been_printed(receiver, logger):
    handler = Printing()
    handler.addFilter(lambda record: "chatter" not in record.getMessage())
    logger.addHandler(handler)
    logger.info("chatter")
    logger.info("a line")
    assert receiver.told == [("chatter", False), ("a line", True)]


def test_what_a_filter_blackens_stays_so(receiver, logger):
    def blacken(record):
        record.msg = record.msg.replace("4111", "****")
        return True

    handler = Printing()
    handler.addFilter(blacken)
    logger.addHandler(handler)
    logger.info("card 4111")
    assert receiver.told == [("card ****", True)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a filter returns another record as of Python 3.12")
def test_another_record_of_a_filter_takes_its_place(receiver, logger):
    handler = Printing()
    handler.addFilter(lambda record: logging.makeLogRecord({**vars(record), "msg": "another"}))
    logger.addHandler(handler)
    logger.info("a line")
    assert receiver.told == [("another", True)]


def test_a_handler_that_does_nothing_at_a_level_takes_none_of_its_lines(logger, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    before = receive_logs(None)
    try:
        logger.addHandler(logging.NullHandler())
        assert not is_received(logger, logging.ERROR)
        high = Kept()
        high.setLevel(logging.WARNING)
        logger.addHandler(high)
        assert not is_received(logger, logging.INFO)
        assert is_received(logger, logging.WARNING)
    finally:
        receive_logs(before)


def test_a_foreign_handler_whose_stream_cannot_be_had_prints_nothing():
    class Foreign(logging.Handler):
        @property
        def stream(self):
            raise RuntimeError("closed")

    assert not prints(Foreign())
