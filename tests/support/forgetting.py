"""What a test teaches this process about secrets, which otherwise knows them until it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from perago.values import redaction


@contextmanager
def no_secrets_known() -> Iterator[None]:
    """Know no secrets inside, and at the end those from before."""
    nothing = type(vars(redaction)["_known"])()
    with patch.object(redaction, "_known", nothing):
        yield
