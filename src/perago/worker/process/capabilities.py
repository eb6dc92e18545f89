"""Capabilities of Linux: a process that runs as root gives up those by which it sees what other processes hold.

Access to files is Landlock's matter. These go past it: as root, a process could else read the memory and the
environment of others, make a device of its own, or listen to the network.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from enum import IntEnum

_VERSION_3 = 0x20080522
_BITS = 32


class Capability(IntEnum):
    """By the kernel's numbers and names."""

    DAC_READ_SEARCH = 2
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_BOOT = 22
    MKNOD = 27
    AUDIT_CONTROL = 30
    SYSLOG = 34
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def give_up(capabilities: Iterable[Capability] = Capability) -> None:
    """Give up capabilities, as far as this thread has them, for itself and what it starts from now on.

    A program that it executes has them back where it runs as root, unless the process has set `no_new_privs`.

    Raises:
        OSError: the kernel refused.
    """
    library = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _check(library.capget(ctypes.byref(header), sets))
    held = False
    for capability in capabilities:
        half, bit = sets[capability // _BITS], 1 << capability % _BITS
        held = held or bool((half.effective | half.permitted | half.inheritable) & bit)
        half.effective &= ~bit
        half.permitted &= ~bit
        half.inheritable &= ~bit
    if held:  # a service that has none may not be let to make this call either
        _check(library.capset(ctypes.byref(header), sets))


def _check(returned: int) -> None:
    if returned != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
