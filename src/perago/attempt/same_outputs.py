"""Others on the branch may have made of a task's outputs just what an earlier result has there: that is no conflict.

Two attempts of a task with a cache begin on one input. The second takes the result that the first has published since.
What both made of the outputs is the same, so only what the task reads is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perago.ports import ReusableStore, ValidateReads
from perago.values.history import Conflict, Merge
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec


@dataclass
class InputsFirst:
    """`ValidateReads` before it is known whether there is a result: a conflict at the outputs alone is put off.

    Attributes:
        inputs: what the task reads.
        is_put_off: whether there was such a conflict. A body that is to run would run for nothing.
    """

    validate_reads: ValidateReads
    inputs: WorkspaceSpec
    is_put_off: bool = field(default=False, init=False)

    def __call__(self, target: WorkspaceInput, spec: WorkspaceSpec, merge: Merge, /) -> Conflict | None:
        if self.validate_reads(target, spec, merge) is None:
            return None
        conflict = self.validate_reads(target, self.inputs, merge)
        self.is_put_off = self.is_put_off or conflict is None
        return conflict


@dataclass(frozen=True)
class WithResult:
    """`ValidateReads` for a result of before: only what the task reads is compared if the head has its outputs.

    Attributes:
        outputs: the commit that has them.
        declared: the task's workspace.
    """

    validate_reads: ValidateReads
    store: ReusableStore
    outputs: str
    declared: WorkspaceSpec

    def __call__(self, target: WorkspaceInput, spec: WorkspaceSpec, merge: Merge, /) -> Conflict | None:
        conflict = self.validate_reads(target, spec, merge)
        if conflict is None or not self._are_there(target, merge):
            return conflict
        return self.validate_reads(target, self.declared.laid_out, merge)

    def _are_there(self, target: WorkspaceInput, merge: Merge) -> bool:
        """Whether the head, and what is merged with, has the outputs."""
        if merge.abandoned or merge.replaced:  # the head is not what is merged with
            return False
        at_head = target.model_copy(update={"ref": merge.head})
        return self.store.has_same_files(at_head, self.outputs, self.declared.made)
