"""The text of `run.json`: the record of a run, of one task or of a workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from perago.engines.local.record import RunRecord
from perago.engines.local.workflow_record import WorkflowRecord, is_workflow
from perago.values.record import TryStatus

AnyRecord = RunRecord | WorkflowRecord


def to_json(record: AnyRecord) -> str:
    """The text of a record.

    Raises:
        TypeError, ValueError: the input, the options or an output is not JSON.
    """
    # Compact, and without copies: a workflow writes it twice for each of its tasks.
    return json.dumps(record, default=_plain) + "\n"


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return vars(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


def from_json(text: str | bytes, run_id: str) -> AnyRecord:
    """Parse the text of `to_json`.

    Raises:
        ValueError: it is damaged, of a later version, or of another run; the message says which.
    """
    try:
        document = json.loads(text)
        record: AnyRecord = (_WORKFLOW if is_workflow(document) else _RUN).validate_python(document)
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from exc
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    if record.run_id != run_id:
        raise ValueError(f"it is the record of run {record.run_id!r}")
    if isinstance(record, RunRecord) and not record.tries:
        raise ValueError("it has no try")
    if any(entry.status is TryStatus.SCHEDULED for entry in record.tries):
        raise ValueError("it has a try that waits to start, which runs never have")
    return record


_RUN: TypeAdapter[AnyRecord] = TypeAdapter(RunRecord)
_WORKFLOW: TypeAdapter[AnyRecord] = TypeAdapter(WorkflowRecord)
