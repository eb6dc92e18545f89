"""Whatever the params of a run are, looking for secrets among them fails nothing."""

from __future__ import annotations

from pydantic import BaseModel, field_validator

from perago import task
from perago.running.recordable import learn_secrets
from perago.values import redaction


class Params(BaseModel):
    password: str = ""
    region: str = ""

    @field_validator("region")
    @classmethod
    def is_known(cls, name):
        """As one that asks a table, or a variable that is not there."""
        return {"north": name}[name]


@task(name="known.region", owner_email="tests@example.org")
def known_region(params: Params) -> Params:
    return params


TASK = known_region.__perago_task__


def test_params_that_no_validator_takes_are_for_the_attempt_to_tell():
    for given in ({"region": "nowhere"}, {"region": ["no", "text"]}, "no object", None):
        learn_secrets(TASK.params_model, given)
    assert redaction.mask_text("hunter2-hunter2") == "hunter2-hunter2"
    learn_secrets(TASK.params_model, {"region": "north", "password": "hunter2-hunter2"})
    assert redaction.mask_text("hunter2-hunter2") == redaction.MASK
