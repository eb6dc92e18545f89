"""The garbage collector rests while it is paused, and is afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from perago.workspace.collector import collector_paused


@pytest.fixture(autouse=True)
def _as_it_was():
    was_enabled = gc.isenabled()
    yield
    (gc.enable if was_enabled else gc.disable)()


def test_it_is_off_meanwhile_and_on_again_after_an_error():
    gc.enable()

    @collector_paused()
    def fail() -> None:
        with collector_paused():
            pass
        raise ValueError(f"on: {gc.isenabled()}")

    with pytest.raises(ValueError, match="on: False"):
        fail()
    assert gc.isenabled()


def test_one_that_was_off_stays_off():
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()
