"""Landlock: a process of Linux gives up access to files, TCP and signals, for itself and all that it starts.

Needs no privilege, and cannot be undone. Descriptors that are open already stay usable. Only the calling thread is
confined, so a process calls it before it has others.
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the numbers are the same on all architectures but Alpha
_VERSION = 1
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVS = 38


class Right(IntFlag):
    """What a process may do with a file, or below a directory. The names are the kernel's."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Right.EXECUTE | Right.READ_FILE | Right.READ_DIR
ALL = Right((1 << 16) - 1)
_OF_FILES = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV
_BY_ABI = {2: Right.REFER, 3: Right.TRUNCATE, 5: Right.IOCTL_DEV}
"""Rights by the version that has added them; all others are there from the first on."""

FILES_ABI, TCP_ABI, SIGNALS_ABI = 3, 4, 6
"""Versions from which on all of these can be refused: to change files (with truncating), TCP, and signals."""

_TCP = 0b11  # bind and connect
_SCOPE = 0b11  # abstract Unix sockets, and signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_fs", ctypes.c_uint64), ("handled_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # which `_pack_` means; Python 3.15 wants it said
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def _call(number: int, *arguments: object) -> int:
    found: int = _library().syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found


@functools.cache
def landlock_abi() -> int:
    """The version of the kernel's Landlock; 0 where there is none, or a filter of system calls hides it."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(allowed: Iterable[tuple[str, Right]], *, tcp: bool) -> None:
    """Give up all access to files but that allowed, in this thread and all that it starts from now on.

    Signals and abstract Unix sockets then reach only what this process has started, from `SIGNALS_ABI` on.

    Args:
        allowed: paths with their rights, which hold for all that is below a directory. A path that does not exist, or
            that this user may not open, is passed over: nothing is allowed there.
        tcp: whether connections are allowed.

    Raises:
        OSError: the kernel refused.
    """
    abi = landlock_abi()
    handled = functools.reduce(lambda rights, one: rights & ~one, _newer_than(abi), ALL)
    ruleset = _Ruleset(handled, 0 if tcp or abi < TCP_ABI else _TCP, _SCOPE if abi >= SIGNALS_ABI else 0)
    size = ctypes.sizeof(ruleset) if abi >= SIGNALS_ABI else 16 if abi >= TCP_ABI else 8
    handle = _call(_CREATE, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path, rights in allowed:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(handle, path, rights & handled)
        if _library().prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs")
        _call(_RESTRICT_SELF, ctypes.c_int(handle), ctypes.c_uint32(0))
    finally:
        os.close(handle)


def _newer_than(abi: int) -> list[Right]:
    return [right for version, right in _BY_ABI.items() if version > abi]


def _allow(ruleset: int, path: str, rights: Right) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, beneath)
        _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(beneath)
