"""Entry of a body's process in a fresh interpreter: `python -m perago.worker.body.fresh <channel> <cancel flag> […]`.

The last argument is there if the zygote expects sandboxes: a file with what it has found of the system, see
`confinement.handed_over`.
"""

from __future__ import annotations

import os
import sys

from perago.worker.process.reaper import die_with, own_socket
from perago.worker.process.shared_flag import SharedFlag

if __name__ == "__main__":
    die_with(os.getppid())
    from perago.worker.body.confinement import take_over
    from perago.worker.body.main import run_body

    channel_handle, flag_handle, *handed = map(int, sys.argv[1:])
    os.set_inheritable(flag_handle, False)
    system = take_over(handed[0]) if handed else None
    run_body(own_socket(channel_handle), SharedFlag(flag_handle), system=system)
