"""Whether a result of before stands for the one that is asked for, and why not.

The facts come from the history; the decision is a plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from perago.ports import EarlierResult, EarlierResults
from perago.tasks.declare import TaskDefinition
from perago.values.cache import CacheSpec, CodeParts, Proof, RunCacheMode
from perago.values.json_text import JsonObject
from perago.values.sandbox import SandboxMode, SandboxRecord

SHOWN = 3
"""Modules, or what a body reached for, in a sentence."""

_WORTH: dict[RunCacheMode, tuple[Proof, ...]] = {"proven": ("proven",), "observed": ("proven", "observed"), "off": ()}


@dataclass(frozen=True, kw_only=True)
class RunCache:
    """The cache, as the process that runs an attempt has it.

    Attributes:
        mode: what it takes for proof.
        recomputes: use no earlier result, but keep this one for later.
        reached: what the body and its guards were seen to reach for; None if nobody looked.
    """

    results: EarlierResults
    mode: RunCacheMode
    recomputes: bool = False
    reached: Callable[[], SandboxRecord | None] = lambda: None


@dataclass(frozen=True)
class Hit:
    """An earlier result that stands for this one."""

    result: EarlierResult


@dataclass(frozen=True)
class Unproven:
    """A result that nobody can use again; `why` in words."""

    why: str


@dataclass(frozen=True)
class Miss:
    """There is none; `why` in words."""

    why: str


def choose(task: TaskDefinition, earlier: Sequence[EarlierResult], mode: RunCacheMode, now: datetime) -> Hit | Miss:
    """The newest of the results with the key that may be used.

    Args:
        earlier: newest first.
        mode: what this process takes for proof.
    """
    cache = task.cache or CacheSpec()
    why = "there is no result for these files, params and this code"
    for result in earlier:
        fault = _fault(task, cache, result, mode, now)
        if fault is None:
            return Hit(result)
        why = f"the result of {result.commit[:12]} is not used: {fault}"
    return Miss(why)


def _fault(
    task: TaskDefinition, cache: CacheSpec, found: EarlierResult, mode: RunCacheMode, now: datetime
) -> str | None:
    """Why a result with the key is not used."""
    proof, stamp = found.stamp.cache_proof, found.stamp
    if proof not in _WORTH[mode] and not (cache.is_trusted and proof == "trusted"):
        return _of_proof(proof, mode)
    if cache.max_age is not None and (found.made is None or now - found.made > cache.max_age):
        return f"it is older than {cache.max_age}"
    if stamp.result is None or not stamp.result_exact:
        return "its result was too large to keep, or held a secret"
    if cache.version is not None and not _is_result(task, stamp.result):
        return f"its result no longer fits {task.output_model.__name__}"
    return None


def _is_result(task: TaskDefinition, result: JsonObject) -> bool:
    """Whether a result of other code is one of this code."""
    try:
        task.output_model.model_validate(result)
    except Exception:  # noqa: BLE001 - a validator may raise anything
        return False
    return True


def _of_proof(proof: str | None, mode: RunCacheMode) -> str:
    if proof == "observed":
        return f"its body ran under sandbox 'report', and PERAGO_RUN_CACHE={mode!r} needs 'enforce'"
    if proof == "trusted":
        return 'it was made under cache="trusted", which the task no longer declares'
    return "it used something outside of its cache key, or its reads were not recorded"


def proof_of(
    cache: CacheSpec, code: CodeParts, sandbox: SandboxMode, reached: SandboxRecord | None, beyond: Sequence[str] = ()
) -> Proof | Unproven:
    """Why a result depends on nothing but its key, or why that is not known.

    Args:
        code: the code in the key.
        sandbox: the mode in which the body ran.
        reached: what it and its guards were seen to reach for; None if nobody looked.
        beyond: files and directories of modules that it opened, and that the key does not have.
    """
    if cache.is_trusted:
        return "trusted"
    missing = [] if reached is None else [name for name in reached.modules if name not in code.sources]
    if missing and cache.version is None:  # their names were computed where nobody could see it, such as in a pickle
        return Unproven(
            f"the body imported {', '.join(missing[:SHOWN])}, which is not in its cache key; name it in depends="
        )
    if beyond and cache.version is None:
        return Unproven(
            f"the body or a guard opened {', '.join(beyond[:SHOWN])}, which is not in its cache key; name "
            f"the file, or its module or package, in depends="
        )
    if sandbox == "enforce":
        return "proven"
    if sandbox != "report" or reached is None:
        return Unproven("no sandbox recorded what the body read")
    if reached.reached:
        return Unproven(f"the body used {', '.join(reached.reached[:SHOWN])}, which is not in its cache key")
    return "observed"
