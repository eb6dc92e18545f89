"""One tree of errors.

Every error says what happened, to what, and what to do about it. Each class knows whether another try of the same
attempt can help: `perago run --retries` spends no try where it cannot, and a worker reports such a failure as final
(`worker.executor.runner`). The seed's functions have their own statuses (`attempt.output.status_for_exception`).

The second base classes (`ValueError`, `RuntimeError`) are part of the published contract: existing callers catch them.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar


class PeragoError(Exception):
    """Root of every error that Perago raises on purpose."""

    retry_can_help: ClassVar[bool] = True

    retry_elsewhere_can_help: ClassVar[bool] = False
    """Another worker may succeed although no further try here can. The cause lies with this worker, such as a setting,
    or with this execution, and not with the task."""


# ---- declaring and configuring: a person has to correct something


class TaskDefinitionError(PeragoError, ValueError):
    """A task declaration is wrong. The message names the function, the mistake and the correction."""

    retry_can_help = False


class WorkflowDefinitionError(PeragoError, ValueError):
    """A workflow, declared in Python or read as JSON, is wrong, or has something that Perago does not run.

    The message names the place, both ends of a wrong wiring, and the correction.
    """

    retry_can_help = False


class TaskInputError(PeragoError, ValueError):
    """The input does not match the task: a field is missing, unknown, blank or invalid."""

    retry_can_help = False


class RuntimeConfigError(PeragoError, ValueError):
    """A setting is missing, incomplete or invalid. The message names the variable and its source.

    Also raised if another user can change or replace one of Perago's directories.
    """

    retry_can_help = False
    retry_elsewhere_can_help = True


# ---- the body


class TaskExecutionError(PeragoError, RuntimeError):
    """The task body failed, or its result does not validate against the result model.

    Args:
        reason: text for the engine; any other object, such as an exception, is converted with `str`.
    """

    reason: str = ""  # for a subclass that never calls this `__init__`

    def __init__(self, reason: object) -> None:
        super().__init__(str(reason))
        self.reason = str(reason)


class TaskFailed(TaskExecutionError):  # noqa: N818 - the name is published contract
    """Raised by a body to fail this attempt; the engine may retry it."""


class TaskTerminalError(TaskExecutionError):
    """Raised by a body to fail the task for good; the engine does not retry it."""

    retry_can_help = False


class TaskCancelledError(TaskExecutionError):
    """The attempt was cancelled while its body ran; raised by `TaskContext.raise_if_cancelled`."""

    retry_can_help = False
    retry_elsewhere_can_help = True


class TaskTimeoutError(TaskExecutionError):
    """The body ran longer than the attempt may take, and was stopped."""


# ---- guards


class GuardrailViolation(PeragoError, RuntimeError):  # noqa: N818 - the name is published contract
    """A guard failed."""


class PreGuardrailViolation(GuardrailViolation):
    """The input workspace fails a guard. A retry with the same input cannot help."""

    retry_can_help = False


class PostGuardrailViolation(GuardrailViolation):
    """The workspace that the body left fails a guard."""


# ---- fences


class StaleAttemptError(PeragoError, RuntimeError):
    """The attempt fence failed: this execution is no longer the engine's current one."""

    retry_can_help = False
    retry_elsewhere_can_help = True


class PublishFenceError(PeragoError, RuntimeError):
    """The publish fence refused to move the target from its head. The target is unchanged."""

    retry_can_help = False


class UnsettledFenceError(PublishFenceError):
    """The publish fence refused because of commits whose tasks, in the same workflow, have not ended.

    A later try may replace those commits, so a retry can succeed. The target is unchanged.
    """

    retry_can_help = True


class HeadMovedError(PublishFenceError):
    """A compare-and-swap failed: the target moved after its head was read. Nothing was published.

    A store's `publish_workspace` raises it. The attempt then reads the head again and decides again.
    """

    retry_can_help = True


# ---- the workspace on disk


class WorkspaceError(PeragoError, RuntimeError):
    """The workspace directory contains, or would contain, something that cannot be laid out or staged."""

    retry_can_help = False


class ObjectNameError(WorkspaceError):
    """An object name is unsafe or ambiguous as a file name."""


class WorkspaceContentError(WorkspaceError):
    """The body left something that is not a regular file, cannot be read, or changed its type."""


class WorkspaceStorageError(WorkspaceError):
    """The disk under the workspace or the store is full, read-only, or failed with an I/O error."""

    retry_can_help = True


# ---- store and engine


class StoreError(PeragoError, RuntimeError):
    """The versioned store could not do what it was asked to."""


class RepositoryNotFoundError(StoreError):
    """The repository does not exist. The message says how to create it."""

    retry_can_help = False


class BranchNotFoundError(StoreError):
    """The repository has no such branch, or it cannot be used: it is an alias, or is checked out in a work tree.

    The message says what to do, such as how to create it.
    """

    retry_can_help = False


class PublishVetoedError(StoreError):
    """A foreign hook on the server refused the publication. The message names it. Nothing was published."""

    retry_can_help = False


class FenceUnavailableError(StoreError):
    """The server cannot guarantee exact publication. The message says why, and what to do. Nothing was published."""

    retry_can_help = False


class DirtyBranchError(StoreError):
    """The target branch has uncommitted changes, which block a publication. Nothing was published."""


class RefNotFoundError(StoreError):
    """The input ref is not a full commit id, or the repository has no such commit."""

    retry_can_help = False


class SourceGoneError(StoreError):
    """Content that was to be committed again is not there any more. Nothing was published."""


class PrefixNotFoundError(StoreError):
    """The commit has no files below the prefix of a read-only task or an export, or not the file to read.

    A writable task starts with an empty workspace instead, and its first output creates the prefix.
    """

    retry_can_help = False


class EngineError(PeragoError, RuntimeError):
    """The engine could not do what it was asked to."""


class EngineUnavailableError(EngineError):
    """The engine's server cannot be reached, or rejects the credentials."""


class TaskNotFoundError(EngineError):
    """The engine no longer has this task or workflow, because of a restart or a deletion. The execution is void."""

    retry_can_help = False
    retry_elsewhere_can_help = True


class WorkflowStateError(EngineError):
    """The workflow's status does not permit the request. Nothing has changed; the message says what can be done."""

    retry_can_help = False


class RunNotFoundError(EngineError):
    """The local engine has no record of that run."""

    retry_can_help = False


class RunBusyError(EngineError):
    """Another process is executing this run."""

    retry_can_help = False


class InternalError(PeragoError, RuntimeError):
    """Perago's own code is in a state that it rules out: a defect in Perago."""


T = TypeVar("T")


def required(value: T | None, fact: str) -> T:
    """A value that cannot be None here. Unlike an `assert`, it is also checked by `python -O`.

    Args:
        fact: why it cannot be, for the message.

    Raises:
        InternalError: it is None.
    """
    if value is None:
        raise InternalError(
            f"Perago itself failed: expected that {fact}. Please report it with the traceback that PERAGO_TRACEBACK=1 "
            f"shows"
        )
    return value


# ---- by name, as errors cross a process boundary

E = TypeVar("E", bound=PeragoError)


def error_class(name: str, base: type[E]) -> type[E] | None:
    """The class of this module with that name, if it is a subclass of `base`."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, base) else None


def nearest_class(error: BaseException) -> type[PeragoError]:
    """The error's class or its nearest base in this module; `TaskExecutionError` if it has none."""
    classes = (error_class(cls.__name__, PeragoError) for cls in type(error).__mro__)
    found = zip(type(error).__mro__, classes, strict=True)
    return next((ours for cls, ours in found if ours is cls and ours is not None), TaskExecutionError)
