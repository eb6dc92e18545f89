"""`perago start`, whose supervisor heeds orders of a nemesis.

usage: program_host.py ARGUMENTS…
"""

import os
import sys

from nemesis import hook, supervisor
from perago.cli.app import invoke

os.environ[hook.SUPERVISOR_VARIABLE] = str(os.getpid())
supervisor.heed_orders()
sys.exit(invoke(sys.argv[1:]))
