"""The map of the tests: each module has a test under its own name, or a place in tests/map.toml."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

TESTS = Path(__file__).parents[2]
UNIT = PurePosixPath("unit")
ACROSS = "across"


@dataclass(frozen=True)
class Facts:
    """The map, and the files. Modules are paths below src/perago without `.py`, tests paths below tests."""

    modules: Set[PurePosixPath]
    tests: Set[PurePosixPath]
    tables: Mapping[str, Mapping[str, str]]


def subject_of(test: PurePosixPath, modules: Set[PurePosixPath]) -> PurePosixPath | None:
    """The module that a unit test is named after, if any: `test_code_version` is no test of `code`."""
    words = test.stem.removeprefix("test_").split("_")
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    room = test.parent.relative_to(UNIT)
    return next((room / name for name in names if room / name in modules), None)


def faults_of(facts: Facts) -> list[str]:
    """All that the map says wrongly, or does not say."""
    units = {test for test in facts.tests if test.is_relative_to(UNIT)}
    subjects = {test: subject_of(test, facts.modules) for test in units}
    named: Counter[PurePosixPath] = Counter()
    rooms, faults, used = set[PurePosixPath](), list[str](), set[str]()
    across = facts.tables.get(ACROSS, {})
    for room, entries in facts.tables.items():
        if room == ACROSS:
            continue
        for names, test in entries.items():
            used.add(test)
            if PurePosixPath(test) not in facts.tests:
                faults.append(f"[{room}] {names}: there is no test {test}")
            if names == "*":
                rooms.add(PurePosixPath(room))
            else:
                named.update(PurePosixPath(room) / name for name in names.split())
    own = set(subjects.values())
    open_modules = {module for module in facts.modules if module not in own and module not in named}
    faults += [f"{module}: there is no such module" for module in named if module not in facts.modules]
    faults += [f"{module}: it has a test of its own name" for module in named if module in own]
    faults += [f"{module}: it is named {count} times" for module, count in named.items() if count > 1]
    faults += [f"{module}: no test" for module in open_modules if module.parent not in rooms]
    faults += [f"[{room}] *: stands for no module" for room in rooms - {module.parent for module in open_modules}]
    stray = {test for test, subject in subjects.items() if subject is None and str(test) not in used}
    for path in across:
        covered = {test for test in stray if test.is_relative_to(path)}
        if not covered:
            faults.append(f"[{ACROSS}] {path}: no such test needs a reason")
        stray -= covered
    faults += [f"{test}: named after no module" for test in stray]
    return sorted(faults)


@pytest.fixture(scope="module")
def facts() -> Facts:
    sources = TESTS.parent / "src" / "perago"
    modules = (path.relative_to(sources).with_suffix("") for path in sources.rglob("*.py"))
    return Facts(
        modules={PurePosixPath(path) for path in modules if not path.name.startswith("_")},
        tests={PurePosixPath(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")},
        tables=tomllib.loads((TESTS / "map.toml").read_text()),
    )


def test_each_module_has_its_test_and_each_test_its_module(facts: Facts) -> None:
    assert faults_of(facts) == []


RIGHT = Facts(
    modules={PurePosixPath(path) for path in ("top", "room/code", "room/code_version", "room/plain", "room/rest")},
    tests={
        PurePosixPath(path)
        for path in (
            "unit/test_top.py",
            "unit/room/test_code_forks.py",
            "unit/room/test_code_version.py",
            "unit/room/test_rooms.py",
            "unit/whole/test_layers.py",
            "cli/test_run.py",
        )
    },
    tables={
        "room": {"plain": "unit/room/test_rooms.py", "*": "cli/test_run.py"},
        ACROSS: {"unit/whole": "the whole"},
    },
)


def with_entries(table: str, **entries: str) -> Facts:
    return replace(RIGHT, tables={**RIGHT.tables, table: {**RIGHT.tables.get(table, {}), **entries}})


def with_test(path: str) -> Facts:
    return replace(RIGHT, tests={*RIGHT.tests, PurePosixPath(path)})


def with_module(path: str) -> Facts:
    return replace(RIGHT, modules={*RIGHT.modules, PurePosixPath(path)})


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (RIGHT, []),
        (with_module("new"), ["new: no test"]),
        (with_module("room/new"), []),
        (with_entries("room", gone="cli/test_run.py"), ["room/gone: there is no such module"]),
        (
            with_entries("room", rest="cli/test_gone.py"),
            ["[room] *: stands for no module", "[room] rest: there is no test cli/test_gone.py"],
        ),
        (with_entries(".", top="cli/test_run.py"), ["top: it has a test of its own name"]),
        (
            with_entries("room", **{"plain rest": "cli/test_run.py"}),
            ["[room] *: stands for no module", "room/plain: it is named 2 times"],
        ),
        (with_test("unit/room/test_rest.py"), ["[room] *: stands for no module"]),
        (with_test("unit/room/test_codes.py"), ["unit/room/test_codes.py: named after no module"]),
        (
            with_entries(ACROSS, **{"unit/test_top.py": "why"}),
            ["[across] unit/test_top.py: no such test needs a reason"],
        ),
    ],
)
def test_a_wrong_map_is_told(facts: Facts, told: list[str]) -> None:
    assert faults_of(facts) == told
