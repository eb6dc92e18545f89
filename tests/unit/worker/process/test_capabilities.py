"""What a process of root gives up, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from perago.worker.process.capabilities import Capability

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root of Linux has capabilities to give up; run as root"
)

_PROGRAM = """
import re
from pathlib import Path
from perago.worker.process.capabilities import Capability, give_up

def held():
    found = re.findall(r"^Cap(?:Inh|Prm|Eff):\\t([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return [int(one, 16) for one in found]

before = held()
give_up()
mask = sum(1 << one for one in Capability)
print([one & ~mask for one in before] == held())
give_up()
"""


def test_these_are_given_up_and_no_others():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_program_that_is_started_does_not_have_them_back():
    code = "import ctypes; from perago.worker.process.capabilities import give_up; import os; give_up(); "
    code += "ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); os.execvp('grep', ['grep', 'CapEff', '/proc/self/status'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept = int(done.stdout.split()[1], 16)
    assert [one for one in Capability if kept >> one & 1] == []
