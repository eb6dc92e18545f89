"""What a program that moves the cursor has shown."""

from __future__ import annotations

import re

_STEPS = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[\?\d+[hl]|(\r?\n)|(\r)|([^\x1b\r\n]+)")


def screens(shown: str) -> list[str]:
    """What was on the screen whenever a tree was about to be drawn again, and at the end."""
    lines, row, found = [""], 0, []
    for count, command, below, start, text in _STEPS.findall(shown):
        if command == "A":
            row -= int(count or 1)
        elif command == "K":
            lines[row] = ""
        elif below:
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif start:
            found.append("\n".join(lines))
        elif text:
            lines[row] += text
    return [*found, "\n".join(lines)]
