"""A server on loopback with its own data, which can be stopped, killed and restarted."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from servers.process import ServerFailedError, ServerProcess, free_port, wait_until

PORTS_TRIED = 5


class KeptServer(ABC):
    """Base of the servers. A context manager.

    A subclass calls `start_on_a_free_port` at the end of its `__init__`.

    Args:
        parent: parent of its temporary directory. Default: the system's.

    Attributes:
        url: such as http://127.0.0.1:41234, the same after a restart.
        directory: its data, its configuration and its log; removed by `close`.
    """

    name: ClassVar[str]
    healthy_seconds: ClassVar[float]
    """Time limit for the start on a quiet machine."""
    port_is_taken: ClassVar[str] = "address already in use"
    """Text in its log if the port is in use, in lower case."""

    def __init__(self, parent: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"perago-{self.name.lower()}-", dir=parent)).resolve()
        self.url = ""
        self._process: ServerProcess | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Program and arguments."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """All its environment variables."""

    @abstractmethod
    def use_port(self, port: int) -> None:
        """Set the port for the next start."""

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether this server answers, rather than another program on the port."""

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is stopped"
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM: it finishes running requests. The data stays."""
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()

    def kill(self) -> None:
        """SIGKILL at any moment. The data stays as it is."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()

    def start(self) -> None:
        """Start again after `stop` or `kill`, on the same data and port.

        Raises:
            ServerFailedError: it does not start, or another program uses the port.
        """
        assert self._process is None, "it runs"
        self._process = ServerProcess(self.command(), self.log, remove=self.directory, environment=self.environment())
        wait_until(self.is_healthy, self._process, seconds=self.healthy_seconds, what=f"{self.name} at {self.url}")

    def close(self) -> None:
        """End the server and remove its data; safe to call twice."""
        try:
            self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def start_on_a_free_port(self) -> None:
        """The first start."""
        for attempt in range(1, PORTS_TRIED + 1):
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            self.use_port(port)
            try:
                self.start()
            except ServerFailedError as exc:
                self.kill()
                if attempt == PORTS_TRIED or self.port_is_taken not in str(exc).lower():
                    raise
            else:
                return
