"""pytest, which runs the suites. Without it they can be imported, but not run."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest
else:
    try:
        import pytest
    except ModuleNotFoundError:

        def unchanged(function: Any) -> Any:
            return function

        pytest = SimpleNamespace(
            fixture=unchanged,
            mark=SimpleNamespace(parametrize=lambda *_, **__: unchanged),
            register_assert_rewrite=lambda *_: None,
        )

__all__ = ["pytest"]
