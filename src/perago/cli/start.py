"""Start a worker. Everything is checked before the first task is taken; from then on probes check its readiness."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from perago.cli.conductor import open_conductor, register_command
from perago.cli.failure import DONE, INTERRUPTED, before_start
from perago.cli.health import serve_health
from perago.cli.loading import find_modules_here
from perago.cli.output import drop_unwritten_stderr, note_warning, settings_warnings_to, stdout_to_stderr
from perago.errors import EngineError, RuntimeConfigError
from perago.http.loop import LoopThread
from perago.running.repos.address import parse_address
from perago.running.telemetry import open_telemetry
from perago.running.text import printable_lines
from perago.settings import RuntimeConfig, load_runtime_config
from perago.settings.stores import TO_CONFIGURE, SettingsHost, configured_store
from perago.stores.table import provider_of
from perago.telemetry.json_lines import FIELDS_ATTRIBUTE, JsonLinesFile, JsonLinesFormatter
from perago.values.redaction import mask_text
from perago.values.stores import StoreSettings
from perago.worker.attempts.in_thread import JOB
from perago.worker.attempts.journal import LOGGER, write
from perago.worker.configuration import (
    LOG_LEVELS,
    MakeExecutor,
    executor_configuration,
    process_executors,
    thread_executors,
    worker_id_of,
    worker_settings,
)
from perago.worker.executor.wire import DeclaredTask
from perago.worker.supervisor.health import Probe
from perago.worker.supervisor.lock import only_supervisor
from perago.worker.supervisor.polling import Pace
from perago.worker.supervisor.shutdown import StopSignals, serve_until_stopped
from perago.worker.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from perago.engines.conductor import ConductorEngine


def probes_of(
    stack: ExitStack, engine: ConductorEngine, tasks: list[str], store: StoreSettings | None
) -> Mapping[str, Probe]:
    """Readiness probes of a worker; see `worker.supervisor.health`.

    Args:
        stack: closes what the probes open.
        tasks: names of the worker's tasks; filled in later, when they are known.
        store: None without one.
    """
    found: dict[str, Probe] = {"tasks": partial(_look_at_tasks, engine, tasks)}
    if store is not None:
        found["store"] = stack.enter_context(provider_of(store.kind).probe(store))
    return found


def _look_at_tasks(engine: ConductorEngine, tasks: list[str]) -> str:
    missing = [name for name in tasks if engine.get_taskdef(name) is None]
    if missing:
        raise RuntimeConfigError(f"not registered: {', '.join(missing)}")
    return f"{len(tasks)} registered"


_STDOUT = 1

ENDING_SECONDS = 20.0
"""Time limit for closing everything after the last attempt has ended."""

MAX_SHOWN_DIFFERENCES = 40
"""Lines of a TaskDef diff that are shown; `perago check --server` shows all."""


@dataclass(frozen=True, kw_only=True)
class StartArguments:
    """Arguments of `perago start`; None if not given."""

    modules: tuple[str, ...]
    slots: int
    execution_mode: str | None
    domain: str | None
    repo: str | None
    as_json: bool


def run_worker(arguments: StartArguments) -> int:
    """Run a worker until a signal stops it; returns the exit code."""
    config, warnings = _configured(arguments)
    worker_id = worker_id_of(config)
    find_modules_here(*arguments.modules)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        directory = stack.enter_context(only_supervisor(config.workspace_root, worker_id))
        log_path = stack.enter_context(_logging(config, worker_id, as_json=arguments.as_json))
        for text in warnings:
            write(logging.WARNING, text, {})
        store = configured_store(config) if arguments.repo is None else _store_at(arguments.repo)
        telemetry = stack.enter_context(open_telemetry(config, worker_id, scraped=True, store=store))
        engine = stack.enter_context(_reached_engine(config))
        tasks: list[str] = []

        def check(declared: Sequence[DeclaredTask]) -> None:
            check_tasks(declared, arguments, store, engine)
            warn_of_unsent_metrics([task.name for task in declared if task.has_metrics], config)
            tasks.extend(task.name for task in declared)

        supervisor = Supervisor(
            worker_settings(
                config,
                worker_id,
                directory,
                slots=arguments.slots,
                pace=_pace(),
                domain=arguments.domain,
                store=store,
            ),
            engine,
            _executors(stack, arguments, config, worker_id, engine, store, tells_source=telemetry.wants_source),
            check,
            telemetry=telemetry,
            probes=probes_of(stack, engine, tasks, store),
        )
        stack.enter_context(serve_health(config, supervisor, telemetry))
        try:
            supervisor.start(lambda: signals.count > 0)
        except BaseException:
            supervisor.close()
            raise
        if config.sandbox != "off":
            supervisor.journal.tell(
                logging.INFO, f"bodies run with sandbox {config.sandbox!r} unless their tasks say otherwise"
            )
        supervisor.journal.tell(logging.INFO, f"the complete log is in {log_path}")
        force_kill_after = config.shutdown_force_kill_after
        is_whole = serve_until_stopped(
            supervisor, signals, None if force_kill_after is None else force_kill_after.total_seconds()
        )
        supervisor.journal.tell(
            logging.INFO, "Stopped." if is_whole else "Stopped. Unfinished tasks were returned to the queue."
        )
        if store is not None:
            provider_of(store.kind).tidy(store)
        if not is_whole:
            _end_at_once(INTERRUPTED)
        _end_in_time()
    return DONE


def warn_of_unsent_metrics(tasks: Sequence[str], config: RuntimeConfig) -> None:
    """Log a warning if tasks record metrics and nothing receives them. 0.6 refused to start."""
    if tasks and config.metrics is None and config.prometheus == "off" and not config.telemetry_disabled:
        write(
            logging.WARNING,
            f"the metrics of {', '.join(tasks)} are discarded, because nothing receives them. Set "
            f"OTEL_EXPORTER_OTLP_ENDPOINT or PERAGO_PROMETHEUS=on",
            {},
        )


def check_tasks(
    tasks: Sequence[DeclaredTask], arguments: StartArguments, store: StoreSettings | None, engine: ConductorEngine
) -> None:
    """Check that the tasks are registered as declared, and that there is a store for them.

    Raises:
        RuntimeConfigError: lists all faults.
    """
    faults = []
    if store is None and any(task.has_workspace for task in tasks):
        names = ", ".join(task.name for task in tasks if task.has_workspace)
        faults.append(
            f"no store is configured, but these tasks have a workspace: {names}. To configure one, {TO_CONFIGURE}"
        )
    try:
        faults += [fault for task in tasks for fault in _registration_faults(task, arguments, engine)]
    except EngineError as exc:
        raise RuntimeConfigError(str(exc)) from exc
    if faults:
        raise RuntimeConfigError("\n".join(faults))


def _registration_faults(task: DeclaredTask, arguments: StartArguments, engine: ConductorEngine) -> Iterator[str]:
    from perago.engines.conductor.taskdefs import differences

    registered = engine.get_taskdef(task.name)
    command = register_command(arguments.modules)
    if registered is None:
        yield f"not registered at {engine.api_url}: task {task.name!r}. `{command}` registers it"
        return
    lines = differences(task.taskdef, registered)
    if lines:
        shown = lines[:MAX_SHOWN_DIFFERENCES] + (["..."] if len(lines) > MAX_SHOWN_DIFFERENCES else [])
        told = f"task {task.name!r} is registered differently from its declaration. `{command}` registers it anew"
        yield "\n".join([told, *shown])


def _configured(arguments: StartArguments) -> tuple[RuntimeConfig, list[str]]:
    """The settings and their warnings. The warnings are logged later: the settings say where the log is."""
    warnings: list[str] = []
    try:
        with settings_warnings_to(warnings.append):
            config = load_runtime_config(arguments.modules[0])
    except RuntimeConfigError:
        for text in warnings:
            note_warning(text)
        raise
    if arguments.execution_mode is not None:
        config = config.model_copy(update={"execution_mode": arguments.execution_mode})
    store = configured_store(config) if arguments.repo is None else None  # `_store_at` prepares that of --repo
    if store is not None:
        provider_of(store.kind).prepare(store, SettingsHost(config))
    return config, warnings


@contextmanager
def _reached_engine(config: RuntimeConfig) -> Iterator[ConductorEngine]:
    """The engine, after it has answered once."""
    with open_conductor(config) as engine:
        try:
            engine.get_taskdef("perago")
        except EngineError as exc:
            raise RuntimeConfigError(f"the Conductor server cannot be used: {exc}") from exc
        yield engine


def _executors(
    stack: ExitStack,
    arguments: StartArguments,
    config: RuntimeConfig,
    worker_id: str,
    engine: ConductorEngine,
    store: StoreSettings | None,
    *,
    tells_source: bool,
) -> MakeExecutor:
    configuration = executor_configuration(config, worker_id, arguments.modules, store, tells_source=tells_source)
    if config.execution_mode == "process":
        return process_executors(configuration, engine)
    loop = LoopThread("perago-bodies")
    stack.callback(loop.close)
    return thread_executors(configuration, engine, loop)


def _store_at(repo: str) -> StoreSettings:
    """The store of an existing repository.

    Raises:
        RuntimeConfigError: a worker takes no address of this kind.
        RepositoryNotFoundError: there is no repository.
    """
    address = parse_address(repo)
    settings = address.for_worker()
    with before_start(), address.open():
        return settings


def _pace() -> Pace:
    from perago.engines.conductor.poll import pause_after, pause_after_failures

    return Pace(after=pause_after, after_failures=pause_after_failures)


@contextmanager
def _logging(config: RuntimeConfig, worker_id: str, *, as_json: bool) -> Iterator[Path]:
    """Log to a file as JSON lines; yields its path. With `as_json` the log goes to stdout too, otherwise its important
    lines go to stderr."""
    try:
        file = JsonLinesFile(
            config.log_root,
            worker_id,
            max_bytes=config.log_file_max_size,
            retention_seconds=config.log_retention.total_seconds(),
            common={"worker": worker_id},
        )
    except OSError as exc:
        raise RuntimeConfigError(f"PERAGO_LOG_ROOT {config.log_root} cannot be used: {exc.strerror}") from exc
    file.setLevel(logging.INFO)
    with ExitStack() as stack:
        stack.callback(_remove_if_empty, file.path)  # if the worker did not start
        stack.callback(file.close)
        console = stack.enter_context(_json_console(worker_id)) if as_json else _console_for_people()
        for name, level in LOG_LEVELS.items():
            logger = logging.getLogger(name or None)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        stack.callback(setattr, LOGGER, "propagate", LOGGER.propagate)
        stack.callback(LOGGER.setLevel, LOGGER.level)
        LOGGER.propagate = False
        LOGGER.setLevel(logging.INFO)
        for logger, handler in ((LOGGER, file), (LOGGER, console), (logging.getLogger(), _Rest(file))):
            stack.callback(logger.removeHandler, handler)
            logger.addHandler(handler)
        yield file.path


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


class _Rest(logging.Handler):
    """Logs warnings of other libraries in this process. Bodies in threads are left out: their slots log for them."""

    def __init__(self, file: logging.Handler) -> None:
        super().__init__(logging.WARNING)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        if JOB.get() is None:
            self._file.handle(record)


@contextmanager
def _json_console(worker_id: str) -> Iterator[logging.Handler]:
    """Log to stdout. What modules and bodies of this process print goes to stderr."""
    own = os.fdopen(os.dup(_STDOUT), "w", encoding="utf-8", errors="backslashreplace")
    try:
        with stdout_to_stderr():
            console = _JsonConsole(own)
            console.setFormatter(JsonLinesFormatter({"worker": worker_id}))
            yield console
    finally:
        with suppress(OSError):  # close flushes again and may fail; the stream is closed anyway
            own.close()


class _JsonConsole(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Ignore a closed pipe or a full disk: the log file has all lines."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def _console_for_people() -> logging.Handler:
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_ConsoleFormatter())
    console.addFilter(_is_for_people)
    return console


class _ConsoleFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return f"{record.asctime} {record.levelname} {_whose(record)}{record.message}"

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(mask_text(super().format(record)))


def _whose(record: logging.LogRecord) -> str:
    """The task that a line belongs to, if any: several run at a time."""
    fields = getattr(record, FIELDS_ATTRIBUTE, {})
    ids = [f"{name} {fields[key]}" for name, key in (("workflow", "workflow"), ("task", "task_id")) if key in fields]
    task = fields.get("task", "")
    return f"{task} ({', '.join(ids)}): " if task and ids else ""


def _is_for_people(record: logging.LogRecord) -> bool:
    """Whether to show a line: warnings, and lines of no attempt. Attempts can log hundreds of lines a second."""
    fields = getattr(record, FIELDS_ATTRIBUTE, {})
    return record.levelno >= logging.WARNING or "execution" not in fields


def _end_in_time() -> None:
    """Exit even if bodies left threads or event loop tasks that never end: Python would wait for them."""
    ending = threading.Timer(ENDING_SECONDS, _end_at_once, [DONE])
    ending.daemon = True
    ending.start()


def _end_at_once(code: int) -> NoReturn:
    """Exit without waiting for threads. Their tasks were returned to the queue, or are kept for the next worker."""
    drop_unwritten_stderr()
    logging.shutdown()
    os._exit(code)
