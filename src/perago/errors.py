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
    """Where no other try here can help: one that another worker gets still can. The fault is this worker's, such as a
    setting, or this execution's, and says nothing of the task."""


# ---- declaring and configuring: a person has to mend something


class TaskDefinitionError(PeragoError, ValueError):
    """A task declaration is wrong; the message names the function, the fault and the mend."""

    retry_can_help = False


class TaskInputError(PeragoError, ValueError):
    """What came in is not what the task takes: a field is missing, unknown, blank or does not validate."""

    retry_can_help = False


class RuntimeConfigError(PeragoError, ValueError):
    """A setting is missing, half given or does not parse; the message names the variable and its source.

    Also: a directory of Perago's can be changed or replaced by another user; the message says by whom, and the mend.
    """

    retry_can_help = False
    retry_elsewhere_can_help = True


# ---- the body


class TaskExecutionError(PeragoError, RuntimeError):
    """The task body failed, or returned what its result model refuses.

    Args:
        reason: what is reported to the engine; what is no text, such as another exception, is reported as its text.
    """

    reason: str = ""  # of a subclass that never calls `__init__` here

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
    """The body ran longer than the attempt may take, and was ended."""


# ---- guards


class GuardrailViolation(PeragoError, RuntimeError):  # noqa: N818 - the name is published contract
    """A guard did not hold."""


class PreGuardrailViolation(GuardrailViolation):
    """The input workspace breaks a guard: no retry of the same input can help."""

    retry_can_help = False


class PostGuardrailViolation(GuardrailViolation):
    """What the body left in the workspace breaks a guard."""


# ---- fences


class StaleAttemptError(PeragoError, RuntimeError):
    """The attempt fence: the engine's current execution is not this one (any more)."""

    retry_can_help = False
    retry_elsewhere_can_help = True


class PublishFenceError(PeragoError, RuntimeError):
    """The publish fence: the target may not be moved from its present head. The target is untouched."""

    retry_can_help = False


class UnsettledFenceError(PublishFenceError):
    """The publish fence refused for commits of the same workflow whose tasks have not ended. The target is untouched.

    What they come to is not known yet: a later try may replace their commits.
    """

    retry_can_help = True


class HeadMovedError(PublishFenceError):
    """A compare-and-swap lost: the target moved between reading its head and publishing. Nothing was published.

    A store's `publish_workspace` raises it; the attempt then reads the head again and decides anew.
    """

    retry_can_help = True


# ---- the workspace on disk


class WorkspaceError(PeragoError, RuntimeError):
    """The workspace directory holds, or would hold, what cannot be laid out or staged."""

    retry_can_help = False


class ObjectNameError(WorkspaceError):
    """An object name that would be unsafe or ambiguous as a file name."""


class WorkspaceContentError(WorkspaceError):
    """The body left something that is no regular file, cannot be read, or changed its kind."""


class WorkspaceStorageError(WorkspaceError):
    """The disk under the workspace, or under the store, refused: full, read-only, or an I/O error."""

    retry_can_help = True


# ---- store and engine


class StoreError(PeragoError, RuntimeError):
    """The versioned store could not do what it was asked."""


class RepositoryNotFoundError(StoreError):
    """There is no repository there; the message says how to make one."""

    retry_can_help = False


class BranchNotFoundError(StoreError):
    """The repository has no such branch; the message says how to make one."""

    retry_can_help = False


class PublishVetoedError(StoreError):
    """A hook on the server, not Perago's own, refused the publication; the message names it. Nothing was published."""

    retry_can_help = False


class FenceUnavailableError(StoreError):
    """The server cannot publish exactly; the message says why, and how to do without. Nothing was published."""

    retry_can_help = False


class DirtyBranchError(StoreError):
    """The target branch holds uncommitted changes, onto which nothing can be published. Nothing was published."""


class RefNotFoundError(StoreError):
    """The input ref is no full commit id, or the repository has no such commit."""

    retry_can_help = False


class PrefixNotFoundError(StoreError):
    """The input commit holds nothing below the prefix that a read-only task, or an export, asks for.

    A writable task starts with an empty workspace instead: its first output makes the prefix.
    """

    retry_can_help = False


class EngineError(PeragoError, RuntimeError):
    """The engine could not do what it was asked."""


class EngineUnavailableError(EngineError):
    """The engine's server cannot be reached, or does not know who asks: a setting, the network, the server is wrong."""


class TaskNotFoundError(EngineError):
    """The engine has no such task or workflow (any more): a restart or a person removed it. Its execution is void."""

    retry_can_help = False
    retry_elsewhere_can_help = True


class RunNotFoundError(EngineError):
    """The local engine has no record of that run."""

    retry_can_help = False


class RunBusyError(EngineError):
    """That run is being executed by a living process."""

    retry_can_help = False


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
