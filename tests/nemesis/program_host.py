"""`perago start`, whose supervisor heeds orders of a nemesis.

usage: program_host.py ARGUMENTS…
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import nemesis_hook
import nemesis_supervisor

from perago.cli.app import invoke

os.environ[nemesis_hook.SUPERVISOR_VARIABLE] = str(os.getpid())
nemesis_supervisor.heed_orders()
sys.exit(invoke(sys.argv[1:]))
