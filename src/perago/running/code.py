"""The code of a run's tasks: loaded when the run begins, and anew when a retry finds that it has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from perago.tasks.caching import forget_code, read_code
from perago.tasks.code import code_digest, forget_digests
from perago.tasks.code_version import code_version, forget_versions
from perago.tasks.declare import TaskDefinition
from perago.tasks.reload import FileStates, changed_in, load_anew, states_of_files

_SHOWN = 3


@dataclass(frozen=True)
class LoadedCode:
    """Tasks as they were loaded once.

    Attributes:
        number: how often the run's tasks were loaded before.
        tasks: by name.
        files: states of their source files right before.
    """

    number: int
    tasks: Mapping[str, TaskDefinition]
    files: FileStates

    def __post_init__(self) -> None:
        for task in self.tasks.values():
            if task.has_workspace and not task.is_builtin:
                code_digest(task)  # of the files as they were loaded: digest and version go with the definition
                code_version(task)
        read_code(self.tasks.values())


class RunCode:
    """The tasks of one run.

    A retry loads changed code, because people fix a task while its run waits for the retry. A first try does not, so
    that an unrelated edit changes nothing in a run without failures. Methods may be called from any thread.

    Args:
        tasks: as loaded, by name.
        targets: where to load them again, by name. None: they stay as they are, because the caller holds them, too.
        on_line: shows what has happened.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskDefinition],
        targets: Mapping[str, str] | None,
        on_line: Callable[[str], None],
    ) -> None:
        own = {name: task for name, task in tasks.items() if not task.is_builtin}
        self._builtin = {name: task for name, task in tasks.items() if task.is_builtin}
        self._targets = None if targets is None else {name: targets[name] for name in own}
        self._on_line = on_line
        self._told: list[Path] = []
        self._mutex = threading.Lock()
        forget_versions()
        forget_code()
        forget_digests()  # a caller in Python may have imported the modules long ago; its bodies load them now
        self.current = LoadedCode(0, tasks, states_of_files(own.values()))

    def for_try(self, loaded: LoadedCode, *, is_retry: bool) -> LoadedCode:
        """The code for a try.

        Args:
            loaded: what the process that will run the try has loaded. A process that has to load anyway looks for
                changes, too.

        Raises:
            TaskDefinitionError: the code has changed, and cannot be loaded.
        """
        with self._mutex:
            if is_retry or loaded is not self.current:
                self._take_up()
            return self.current

    def _take_up(self) -> None:
        changed = changed_in(self.current.files)
        if not changed:
            return
        if self._targets is None:
            self._tell(changed, "This run continues with its old code. Start another run to use the new code")
            return
        own = {name: self.current.tasks[name] for name in self._targets}
        files = states_of_files(own.values())
        tasks = load_anew(own, self._targets)
        forget_code()
        files = {**states_of_files(tasks.values()), **files}
        self.current = LoadedCode(self.current.number + 1, {**self._builtin, **tasks}, files)
        self._tell(changed, "The tasks are loaded anew")

    def _tell(self, changed: list[Path], what: str) -> None:
        if changed == self._told and self._targets is None:
            return
        self._told = changed
        names = ", ".join(map(_shown, changed[:_SHOWN]))
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        self._on_line(f"Changed since the tasks were loaded: {names}{more}. {what}.")


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
