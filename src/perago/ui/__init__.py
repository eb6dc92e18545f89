"""The page: what `perago ui` shows of runs and of a repository's history, on this machine.

It changes no run and no repository; reading keeps what commits changed in the index of history.

`serve` is the door. `guard` stands before every page and decides who is answered; `app` has the addresses. Each page is
a module with a function from a question to a frozen dataclass, and a template. `render` makes HTML and JSON of it, and
masks secrets; `report` does the same for a file. `source` reads runs and repository, `conductor` the runs on a server.
`preview` shows the content of a file, in a child process.

Imports `running` and what is below it; knows no command. Only this room knows starlette, uvicorn and jinja2.
"""

from perago.errors import RuntimeConfigError

EXTRA = ("starlette", "uvicorn", "jinja2")


def expect_extra() -> None:
    """Check that the packages of the extra `ui` are installed.

    Raises:
        RuntimeConfigError: one is not.
    """
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise RuntimeConfigError(
            f"the page needs {', '.join(missing)}, which is not installed; install the extra `ui` with "
            f"`pip install 'perago[ui]'`"
        )
