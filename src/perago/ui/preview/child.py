"""The program that reads a content: from its standard input to its standard output. Confines itself first.

usage: python -m perago.ui.preview.child describe|pixels NAME
       python -m perago.ui.preview.child rows NAME KEY
For `rows` the input is the size of the older content, as `LENGTH` has it, and both contents.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import sysconfig
from pathlib import Path

MEMORY_BYTES = 2 * 1024**3
"""Address space; libraries reserve much that they do not use."""
CPU_SECONDS = 5
MAX_OUTPUT_BYTES = 4 * 1024**2
MAX_FILES = 64

SIZE = struct.Struct(">II")
"""Width and height of the pixels that follow."""


LENGTH = struct.Struct(">Q")


def confine() -> None:
    """Give up all but reading programs and libraries. Where the kernel cannot refuse more, the bounds hold alone."""
    if sys.platform == "linux":  # macOS refuses this one
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    from perago.worker.process.capabilities import give_up
    from perago.worker.process.landlock import FILES_ABI, READ, landlock_abi, restrict

    give_up()
    if landlock_abi() >= FILES_ABI:
        prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sysconfig.get_paths().values())
        own = str(Path(__file__).parents[2])
        restrict([(path, READ) for path in {*prefixes, own, "/usr", "/lib", "/lib64"}], tcp=False)


def main() -> None:
    """Read one content."""
    task, name, *rest = sys.argv[1:]
    content = sys.stdin.buffer.read()
    confine()
    from perago.ui.preview.content import described, pixels, rows_between

    if task == "pixels":
        width, height, data = pixels(content)
        sys.stdout.buffer.write(SIZE.pack(width, height) + data)
    elif task == "rows":
        (length,) = LENGTH.unpack(content[: LENGTH.size])
        before, after = content[LENGTH.size :][:length], content[LENGTH.size + length :]
        said = rows_between(name, before, after, rest[0] or None)
        sys.stdout.buffer.write(json.dumps(said).encode("utf-8", "replace"))
    else:
        sys.stdout.buffer.write(json.dumps(described(name, content)).encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
