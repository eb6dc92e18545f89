"""What holds for every test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator

import pytest

pytest_plugins = ["servers.fixtures", "servers.conductor_fixtures"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a test that "needs" something real which is not there fails: CI must have it."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        reason = _skip_reason(report)
        if reason.startswith("needs "):
            report.outcome = "failed"
            report.longrepr = f"CI=true, and this test {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly, at the end, what this machine could not test."""
    reasons = (_skip_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    missing = Counter(reason for reason in reasons if reason.startswith("needs "))
    for reason, count in sorted(missing.items()):
        terminalreporter.write_line(f"NOT TESTED HERE ({count}): {reason}", yellow=True, bold=True)


def _skip_reason(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
