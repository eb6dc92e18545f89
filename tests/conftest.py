"""What holds for every test."""

from __future__ import annotations

import os
import re
import signal
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.errors import FailedHealthCheck

import figures
from forgetting import no_secrets_known

# How long an example takes says more of the machine than of the code.
settings.register_profile("perago", deadline=None)
settings.load_profile("perago")

_OF_A_SHELL = re.compile(
    r"(LAKECTL|CONDUCTOR|OTEL|OPENLINEAGE)_.*|PERAGO_(?!TEST_|PROVE$).*|NO_COLOR|FORCE_COLOR|PYTHONBREAKPOINT"
)
"""Variables that are not the tests' own."""

_COUNTED, _TOLD, _FOUND = "counted", "told", "found at random"
MOST_SHOWN = 40
"""Counters that are told one by one."""
MISSED = "perago/missed-figures"
"""In pytest's cache: names of figures that were measured and not reached. No second run of a test excuses those."""
FOUND = "perago/found-at-random"
"""In pytest's cache: names of tests that draw cases at random, and have found one. No second run excuses those."""
PROVE = "PERAGO_PROVE"
"""How much is to be proven, `short` or `full`: figures are then judged at the end. Unset: they are not."""


@pytest.fixture(autouse=True)
def nothing_learnt() -> Iterator[None]:
    """Secrets that a test teaches this process are forgotten after it."""
    with no_secrets_known():
        yield


@pytest.fixture(autouse=True, scope="session")
def state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Directories that a test does not name are temporary ones, not those of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("LAKECTL_CONFIG_FILE", os.devnull)  # nor is the login of whoever runs them used
        yield


pytest_plugins = ["servers.fixtures", "servers.conductor_fixtures"]


def pytest_configure() -> None:
    """Tests, and the programs that they start, ignore the caller's environment.

    Settings of Perago and of its servers are not seen: a key in the shell would be used. Signals that the caller
    ignores (nohup, a shell's `&`) work again.
    """
    for name in list(os.environ):
        if _OF_A_SHELL.fullmatch(name):
            del os.environ[name]
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


QUICK_FOLDERS = ("unit", "contract", "protocol", "cli")
"""Whose tests are part of `make test`, but for those marked `long`; of other folders those marked `quick` are."""


SHARE = os.environ.get("PERAGO_TEST_SHARE", "1/1")
"""Which of the long tests are run: `2/3` is the second third. All thirds together are all tests."""


@pytest.hookimpl(tryfirst=True)  # before -m is heeded
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that are not part of `make test` as `long`, leave out those of other shares, and order the rest.

    Tests that wait for minutes begin first. At the end the other process would have nothing left to run beside them.

    Tests that only compute come last, beside those that still wait. In another order either kind leaves a core idle.
    """
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        if folder not in QUICK_FOLDERS and item.get_closest_marker("quick") is None:
            item.add_marker("long")
    others = {item for item in items if item.get_closest_marker("long") is not None and not _is_in_share(item.nodeid)}
    config.hook.pytest_deselected(items=list(others))
    items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: (item.get_closest_marker("first") is None, item.get_closest_marker("last") is not None))


def _is_in_share(name: str) -> bool:
    part, parts = map(int, SHARE.split("/"))
    return (zlib.crc32(name.encode()) >> 16) % parts == part - 1  # by these bits the heaviest tests are spread evenly


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a test that "needs" something real which is not there fails: CI must have it.

    What a test has found that draws its cases at random is noted: a second run may draw others.
    """
    report = yield
    if (
        report.failed
        and call.excinfo is not None
        and _draws_at_random(item)
        and not _ran_out_of_time(call.excinfo.value)
    ):
        report.user_properties.append((_FOUND, item.nodeid))
    if report.skipped and os.environ.get("CI") == "true":
        reason = _skip_reason(report)
        if reason.startswith("needs "):
            report.outcome = "failed"
            report.longrepr = f"CI=true, and this test {reason}"
    return report


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Counter[str]]]:
    """Counters, by a heading; those of all tests are added up and told at the end of the run."""
    counters: defaultdict[str, Counter[str]] = defaultdict(Counter)
    yield counters.__getitem__
    told = {heading: dict(counter) for heading, counter in counters.items()}
    request.node.user_properties.append((_COUNTED, told))  # which come along from a worker of pytest-xdist


@pytest.fixture
def tell_at_end(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Has a text told at the end of the run, whether the test passes or not."""
    return lambda text: request.node.user_properties.append((_TOLD, text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly, at the end, what was counted, and what this machine could not test."""
    for report in _ended(terminalreporter):
        for name, text in report.user_properties:
            if name == _TOLD:
                terminalreporter.write_line(str(text))
    counts = _counts(terminalreporter)
    for heading, counter in counts.items():
        told = ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
        if len(counter) > MOST_SHOWN:
            told = f"{len(counter)} kinds, the rarest {min(counter.values())} times"
        terminalreporter.write_line(f"{heading}: {counter.total()} in all ({told})", bold=True)
    reasons = (_skip_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    missing = Counter(reason for reason in reasons if reason.startswith("needs "))
    for reason, count in sorted(missing.items()):
        terminalreporter.write_line(f"NOT TESTED HERE ({count}): {reason}", yellow=True, bold=True)
    if kind := os.environ.get(PROVE):
        for line in figures.table(figures.judge(counts, kind), kind):
            terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A figure that was not reached fails the run; one that this machine cannot measure does so where CI=true."""
    kind, reporter = os.environ.get(PROVE), session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    if (cache := getattr(session.config, "cache", None)) is not None:
        failed = [report for report in reporter.stats.get("failed", ()) if isinstance(report, pytest.TestReport)]
        properties = [entry for report in failed for entry in report.user_properties]
        cache.set(FOUND, sorted({str(value) for name, value in properties if name == _FOUND}))
    if not kind:
        return
    must_be_there = kind == figures.FULL or os.environ.get("CI") == "true"
    judged = figures.judge(_counts(reporter), kind)
    missed = [entry.figure.name for entry in judged if entry.value is not None and not entry.is_met]
    if session.config.cache is not None:
        session.config.cache.set(MISSED, missed)
    if any(not entry.is_met and (must_be_there or entry.value is not None) for entry in judged):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _ended(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    """The last report of each test, which has all that it counted and told."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "teardown":
                yield report


def _counts(terminalreporter: pytest.TerminalReporter) -> dict[str, Counter[str]]:
    """What tests counted, by heading."""
    added: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report in _ended(terminalreporter):
        for name, value in report.user_properties:
            for heading, counts in value.items() if name == _COUNTED else ():
                added[heading].update(counts)
    return added


def _draws_at_random(item: pytest.Item) -> bool:
    """Whether a test is one of hypothesis, a state machine's too, or says that it draws its cases by itself."""
    test = getattr(item, "obj", None)
    return getattr(test, "is_hypothesis_test", False) or item.get_closest_marker("property") is not None


def _ran_out_of_time(error: BaseException) -> bool:
    """Whether all that was found is a machine that stalled: hypothesis complains of slow strategies by a class of its
    own, and takes the timeout of a test for the fault of an example."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_ran_out_of_time, error.exceptions))
    said = {str(fault) for fault in (error, error.__cause__) if isinstance(fault, pytest.fail.Exception)}
    return any("from pytest-timeout" in text for text in said) or isinstance(error, FailedHealthCheck)


def _skip_reason(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
