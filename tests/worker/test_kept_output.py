"""What a zygote keeps of its companion's output."""

from __future__ import annotations

import socket
import threading

import pytest

from perago.worker.body.printed import Printed
from perago.worker.process.kept_output import FOLLOW, HAND_OVER, MAX_KEPT_BYTES, Keeper, KeptOutput
from perago.worker.process.shared_flag import SharedFlag


@pytest.fixture
def kept():
    """The output of this process, kept by a thread."""
    near, far = socket.socketpair()

    def keep() -> None:
        order, handles, _, _ = socket.recv_fds(far, 1, 2)
        assert order == FOLLOW
        keeper = Keeper(handles[0], SharedFlag(handles[1]))
        far.setblocking(False)
        while True:
            keeper.read()
            try:
                order = far.recv(1)
            except BlockingIOError:
                continue
            if not order:
                break
            assert order == HAND_OVER
            far.setblocking(True)
            keeper.hand_over(far)
            far.setblocking(False)
        keeper.close()

    thread = threading.Thread(target=keep)
    thread.start()
    output = KeptOutput(near)
    yield output
    output.close()
    near.close()
    thread.join()
    far.close()


def write(output, data):
    with open(output.writer, "wb", closefd=False) as file:
        file.write(data)


def test_what_was_printed_is_taken_once(kept):
    assert kept.take() == (b"", 0)
    write(kept, b"one\ntwo")
    assert kept.take() == (b"one\ntwo", 0)
    assert kept.take() == (b"", 0)
    write(kept, b"three\n")
    assert kept.take() == (b"three\n", 0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\nlast"])
def test_beyond_the_bound_only_lines_are_counted(kept, end):
    text = b"x" * 99 + b"\n"
    count = MAX_KEPT_BYTES // len(text) + 10
    write(kept, text * count + b"open" + end)
    data, left_out = kept.take()
    assert data == (text * count)[:MAX_KEPT_BYTES], "not the beginning"
    told: list[str] = []
    printed = Printed(told.append, max_lines=5)
    printed.feed(data)
    printed.end(left_out)
    lines = len((text * count + b"open" + end).splitlines())
    assert told[5:] == [f"[{lines - 5} more lines were printed but not logged]"]
    assert kept.take() == (b"", 0)
