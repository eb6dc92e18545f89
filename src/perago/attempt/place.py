"""Where in a body a failure came from."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from perago.attempt.breakpoints import is_quit
from perago.errors import PeragoError, TaskExecutionError
from perago.values.redaction import traceback_of

MAX_FRAMES_LENGTH = 8 * 1024
"""Characters of a traceback that are told; its end is kept."""

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')
_OURS = str(Path(__file__).parents[1])
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_LEFT_OUT = "[…]\n"


def traceback_in_body(error: BaseException | None) -> str | None:
    """The traceback of an error that a body did not raise on purpose, without the frames of Perago; masked.

    Returns:
        At most `MAX_FRAMES_LENGTH` characters. None: it was raised on purpose, or not in a body.
    """
    if error is None or is_quit(error) or (isinstance(error, PeragoError) and type(error) is not TaskExecutionError):
        return None
    # What a body raised in a process of its own came with its traceback as a note.
    text = "".join(getattr(error, "__notes__", ())) if isinstance(error, PeragoError) else traceback_of(error)
    kept = "".join(_without_ours(text.splitlines(keepends=True)))
    if _FRAME.search(kept) is None:
        return None
    return kept if len(kept) <= MAX_FRAMES_LENGTH else _LEFT_OUT + kept[-MAX_FRAMES_LENGTH + len(_LEFT_OUT) :]


def place_in_body(error: BaseException | None) -> str | None:
    """The last frame of the task's own code in that traceback: `file:line in function`; None as there."""
    frames = list(_FRAME.finditer(traceback_in_body(error) or ""))
    # Not where a library gave up, but where the body called it. A task that is installed is a library itself.
    frames = [frame for frame in frames if not frame["file"].startswith(_LIBRARIES)] or frames
    return f"{frames[-1]['file']}:{frames[-1]['line']} in {frames[-1]['function']}" if frames else None


def with_place(reason: str | None, error: BaseException | None, *, max_length: int) -> str | None:
    """A reason with the place in the body that an error came from, where it is known; both are cut to the length.

    A place that would take more than half of it away from a long reason is left out.
    """
    place = place_in_body(error)
    if reason is None or place is None:
        return reason
    at = f" (at {place})"
    room = max_length - len(at)
    return reason[:room] + at if room >= min(len(reason), max_length // 2) else reason


def _without_ours(lines: list[str]) -> Iterator[str]:
    """The lines of a traceback but for the frames of Perago's own files, and what is indented below each."""
    is_ours = False
    for line in lines:
        frame = _FRAME.match(line.strip())
        if frame is not None:
            is_ours = frame["file"].startswith(_OURS)
        elif not line.startswith("    "):
            is_ours = False
        if not is_ours:
            yield line
