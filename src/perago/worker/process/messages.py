"""Messages between Perago's processes: JSON objects, each after its length.

Only JSON is read from a body's process: a pickle could run code in the process that holds the credentials.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from perago.errors import E, error_class
from perago.values.json_text import encodable, parse_json

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Maximum bytes of one message, and so of params and result. Larger data belongs in the workspace."""

CHUNK_BYTES = 64 * 1024
"""Bytes read from a channel at once. For larger reads the system maps and unmaps memory each time."""

MAX_TEXT_LENGTH = 64 * 1024
"""Characters of a log line, a progress message or a traceback that are kept."""

CHANNEL_CLOSED = 93
"""Exit code of a process whose body has closed the channel to its caller, so that no message can say so."""

CLOSED_BY_BODY = (
    "closed descriptors that it did not open, perhaps with os.closerange, so that its result cannot be received; close "
    "only what the body has opened"
)

_LENGTH = struct.Struct(">I")
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Load(Message):
    """The first message: the modules to load, and where.

    Attributes:
        start: how bodies start: forked from a process that has loaded the modules, or spawned to load them again.
        targets: `pkg.module` or `pkg.module:function`; all their tasks are loaded.
        sys_path, cwd: for modules and relative paths; cwd is None if the caller's no longer exists.
        log_levels: logger name ("" is the root) -> level, from the caller's log settings.
        confines: whether bodies will be confined, so that their process prepares for it.
    """

    kind: Literal["load"] = "load"
    start: Literal["fork", "spawn"] = "fork"
    targets: list[str]
    sys_path: list[str]
    cwd: str | None
    log_levels: dict[str, int] = Field(default_factory=dict)
    confines: bool = False


class Confinement(Message):
    """What a body may reach; see `values.sandbox.SandboxSpec`.

    Attributes:
        mode: whether the rest is refused, or only noted.
        private: directory for its home and its temporary files.
        short: a path that leads there, and leaves room for the names of sockets.
        workspace: None for a free task.
        read_only: whether it may only read the workspace.
        environment: further variables that it sees.
    """

    mode: Literal["enforce", "report"]
    private: str
    short: str
    workspace: str | None
    read_only: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    network: bool = False
    environment: tuple[str, ...] = ()


class Start(Message):
    """To the body: everything that it needs to run. Params may hold secrets, so they are sent only here.

    Attributes:
        identity: the fields of `AttemptIdentity`.
        params: as given; validated again in the body's process.
        workspace: absolute path of the body's directory; None for a free task.
        metrics: whether the caller takes metrics.
        trace: the attempt's trace context, as fields of `TraceContext`; empty without one.
        guards: see `attempt.body.BodyCall`.
        confinement: None for a body that may reach whatever its user can.
    """

    kind: Literal["start"] = "start"
    identity: dict[str, Any]
    execution_id: str
    task_name: str
    params: dict[str, Any]
    workspace: str | None
    metrics: bool
    trace: dict[str, str] = Field(default_factory=dict)
    guards: Literal["pre", "post"] | None = None
    confinement: Confinement | None = None


class Cancel(Message):
    """To an executor: its attempt must stop as soon as it can."""

    kind: Literal["cancel"] = "cancel"


class Progress(Message):
    kind: Literal["progress"] = "progress"
    done: int | float
    total: int | float | None = None
    message: str | None = None


class Log(Message):
    """A formatted log record of the standard library.

    Attributes:
        created: seconds since the epoch.
        path, line, function: the place of the log call.
        fields: the record's `extra`.
        is_printed: a handler of the body's process would have printed it, so that it is shown whatever the level here.
    """

    kind: Literal["log"] = "log"
    logger: str
    level: int
    text: str
    created: float
    path: str = ""
    line: int = 0
    function: str = ""
    fields: dict[str, Any] = Field(default_factory=dict)
    is_printed: bool = False


class Metric(Message):
    kind: Literal["metric"] = "metric"
    instrument: Literal["gauge", "histogram"]
    name: str
    value: float
    labels: dict[str, str] = Field(default_factory=dict)
    step: float | None = None


class Result(Message):
    """The body returned; `result` is validated."""

    kind: Literal["result"] = "result"
    result: dict[str, Any]


class Failure(Message):
    """The body raised. `error` names the nearest class in `perago.errors`; texts are masked."""

    kind: Literal["failure"] = "failure"
    error: str
    reason: str
    traceback: str = ""

    def as_error(self, base: type[E], default: type[E]) -> E:
        """The error again: of the class that it names if that is a subclass of `base`, else of the default."""
        error = (error_class(self.error, base) or default)(self.reason)
        if self.traceback:
            error.add_note(self.traceback)  # a note stays out of the reason
        return error


class Outside(Message):
    """What the body reached for outside of what is laid out for it, in words.

    Attributes:
        more: how many more there were.
        modules: source modules that it imported while it ran, by name.
        opened: paths of files of source modules that it opened, and of packages that it listed.
    """

    kind: Literal["outside"] = "outside"
    reached: list[str]
    more: int = 0
    modules: list[str] = Field(default_factory=list)
    opened: list[str] = Field(default_factory=list)


class Finishing(Message):
    """The body's result or failure has been sent, and its process ends as Python does.

    Attributes:
        threads: names of the threads that it waits for.
    """

    kind: Literal["finishing"] = "finishing"
    threads: list[str]


FromBody = Annotated[Progress | Log | Metric | Outside | Result | Failure | Finishing, Field(discriminator="kind")]

FROM_BODY: TypeAdapter[Progress | Log | Metric | Outside | Result | Failure | Finishing] = TypeAdapter(FromBody)


def encode(message: Message) -> bytes:
    """Encode a message for the channel.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or is larger than `MAX_MESSAGE_BYTES`.
    """
    try:
        payload = _ENCODER.encode(message.model_dump()).encode()
    except TypeError as exc:
        raise ValueError(str(exc)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply to be sent as JSON") from None
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(
            f"it is {len(payload)} bytes as JSON, but at most {MAX_MESSAGE_BYTES} can be passed to or from a body; "
            f"put the data into files of the workspace"
        )
    return _LENGTH.pack(len(payload)) + payload


class Decoder:
    """Splits a stream of bytes into JSON values."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def rest(self) -> bytes:
        """The bytes received of the next message."""
        return bytes(self._pending)

    def feed(self, data: bytes) -> Iterator[object]:
        """Take more bytes; yields the complete values.

        Raises:
            ValueError: a message is larger than `MAX_MESSAGE_BYTES`, or is not JSON.
        """
        self._pending += data
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes is announced, but the limit is {MAX_MESSAGE_BYTES}")
            end = _LENGTH.size + length
            if len(self._pending) < end:
                return
            payload = bytes(self._pending[_LENGTH.size : end])
            del self._pending[:end]
            yield _parse(payload)


def read_message(channel: socket.socket) -> object:
    """Read one message; returns its JSON value. Reads no byte of the next one, which another process may read.

    Raises:
        EOFError: the other end is closed.
    """
    (length,) = _LENGTH.unpack(_read_exactly(channel, _LENGTH.size))
    return _parse(_read_exactly(channel, length))


def _read_exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = channel.recv(min(size - len(data), CHUNK_BYTES))
        if not more:
            raise EOFError("the caller has ended")
        data += more
    return bytes(data)


def clean_text(text: str) -> str:
    """Valid UTF-8 text of at most `MAX_TEXT_LENGTH` characters, cut at the beginning."""
    clean = encodable(text)
    return clean if len(clean) <= MAX_TEXT_LENGTH else "[…] " + clean[-MAX_TEXT_LENGTH + 4 :]


def _parse(payload: bytes) -> object:
    try:
        return parse_json(payload)
    except RecursionError:
        raise ValueError("a message is nested too deeply") from None
