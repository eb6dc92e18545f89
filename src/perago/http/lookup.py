"""Addresses of hosts, within a time of ours: the system's own lookup takes as long as it likes, half a minute and more.

Nothing ends a lookup from outside. So it runs in a thread of its own, which ends with it: one for each name at most,
however many calls wait for it.
"""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import Future
from typing import Any, NamedTuple

from perago.http.forks import tell_forks


class Address(NamedTuple):
    """What `socket.socket` and its `connect` take."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    address: Any


class Lookups:
    """Those that are under way, for all threads of this process."""

    def __init__(self) -> None:
        self._begin()
        tell_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[Address]]] = {}

    def addresses_of(self, host: str, port: int, seconds: float) -> list[Address]:
        """A host's addresses, the best one first.

        Raises:
            OSError: it has none; TimeoutError: they are not known in time.
            UnicodeError: it cannot be a host's name.
        """
        return self.begin(host, port).result(seconds)

    def begin(self, host: str, port: int) -> Future[list[Address]]:
        """Have them looked up; what comes of it is also that of others who ask for them now.

        Raises:
            OSError: no thread can be started for it.
        """
        key = (host, port)
        with self._lock:
            answer = self._under_way.get(key)
            if answer is None:
                answer = Future()
                thread = threading.Thread(target=self._look_up, args=(key, answer), name="perago-lookup", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    raise OSError(errno.EAGAIN, "there is no room for a thread") from None
                self._under_way[key] = answer
        return answer

    def leave_to_parent(self) -> None:
        """See `forks.Forked`: threads do not come along into a fork, and one that is not there may hold the lock."""
        self._begin()

    def _look_up(self, key: tuple[str, int], answer: Future[list[Address]]) -> None:
        try:
            found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
        except Exception as exc:  # noqa: BLE001 - whatever it is, those who wait are told
            answer.set_exception(exc)
        else:
            answer.set_result([Address(family, kind, protocol, to) for family, kind, protocol, _, to in found])
        finally:
            with self._lock:
                del self._under_way[key]


LOOKUPS = Lookups()
