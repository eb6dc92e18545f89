"""The talk between a race and one of its writers; the standard library only, for writers in other environments.

A writer is told `stage HEAD` and answers `staged COMMIT`; is told `publish` and answers `won COMMIT`, or `lost` if the
branch had moved; anything that goes wrong is `failed MESSAGE`. It ends with its input.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol


class Lost(Exception):
    """Another one was faster."""


class Writer(Protocol):
    def stage(self, head: str, turn: int) -> str:
        """Make a commit on top of a head, where nobody reads; returns its id."""

    def publish(self) -> str:
        """Move the branch from that head to the staged content; returns the published commit's id."""


def server() -> dict[str, str]:
    """URL and keys of the server, as the race hands them over."""
    return {name: os.environ[f"RACE_{name}".upper()] for name in ("url", "access_key_id", "secret_access_key")}


def serve(writer: Writer) -> None:
    for turn, line in enumerate(sys.stdin):
        try:
            match line.split():
                case ["stage", head]:
                    print("staged", writer.stage(head, turn), flush=True)
                case ["publish"]:
                    print("won", writer.publish(), flush=True)
        except Lost:
            print("lost", flush=True)
        except Exception as exc:
            print("failed", type(exc).__name__, " ".join(str(exc).split()), flush=True)
