"""Where the modules of the nemesis are found, here and in the tests of workers."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "modules"), str(HERE.parent / "worker")]
