"""The parts of the benchmarks that could make a figure wrong without a word."""

import os
import sys
from datetime import UTC, datetime

import pytest

from benchmarks.changing import change_files
from benchmarks.compare import Comparison, Sample, Spread, compare, publishing
from benchmarks.fit import straight_line
from benchmarks.git.repositories import make_git_repository
from benchmarks.git.sides import Case, copy_repository, git, perago
from benchmarks.inputs import Content, environment
from benchmarks.measure import Usage, run
from benchmarks.parts import Measured
from benchmarks.plot import plot
from benchmarks.results import Results, section

WORD = "abcdefgh"


def sample(seconds):
    return Sample(seconds, Usage(seconds, seconds, 1), {"a": seconds})


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_ratios_are_of_samples_that_were_taken_together():
    comparison = Comparison("t", {"one": list(map(sample, [1, 20, 3])), "other": list(map(sample, [1, 10, 1]))})
    assert comparison.ratio("one", "other", publishing) == Spread(2.0, 1.0, 3.0)
    assert comparison.spread("one", publishing) == Spread(3, 1, 20)
    assert comparison.phases("one") == {"a": 3}


def test_sides_take_turns_and_the_first_round_does_not_count(tmp_path):
    turns = []

    def side(name):
        def do(directory, word):
            assert list(directory.iterdir()) == []
            turns.append((name, word))
            return sample(len(turns))

        return do

    comparison = compare("t", {"a": side("a"), "b": side("b")}, 2, tmp_path)
    assert [name for name, _ in turns] == ["a", "b"] * 3
    assert len({word for _, word in turns}) == 3
    assert [taken.publishing for taken in comparison.samples["a"]] == [3, 5]
    assert list(tmp_path.iterdir()) == []


def test_what_a_child_of_a_program_uses_counts(tmp_path):
    grandchild = "kept = b'x' * 100_000_000; import time\nwhile time.process_time() < 0.3: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}], check=True); print('x')"
    used = run([sys.executable, "-c", program], environment=dict(os.environ), directory=tmp_path)
    assert used.output == "x\n"
    assert used.peak_bytes > 100_000_000
    assert used.cpu_seconds > 0.2
    assert used.seconds >= 0.2


def test_a_program_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(RuntimeError, match="oh no"):
        run([sys.executable, "-c", "raise SystemExit('oh no')"], environment=dict(os.environ), directory=tmp_path)


@pytest.mark.parametrize(("count", "changed"), [(1, 1), (3, 3), (10, 10), (99, 10)])
def test_as_many_files_are_changed_as_is_said(tmp_path, count, changed):
    Content(10, 64).write(tmp_path)
    before = content(tmp_path)
    assert len(change_files(tmp_path, count, WORD)) == changed
    after = content(tmp_path)
    assert before.keys() == after.keys()
    assert sum(before[path] != after[path] for path in before) == changed
    assert all(len(after[path]) == 64 for path in after)


@pytest.mark.parametrize("width", [8, 1])
def test_both_sides_publish_the_same_from_the_same(tmp_path, width):
    case = Case(make_git_repository(Content(12, 100), tmp_path), 3, width=width)
    trees = set()
    for side in (perago, git):
        here = tmp_path / side.__name__
        here.mkdir()
        taken = side(case, here, WORD)
        assert 0 < taken.publishing <= taken.whole.seconds
        command = ["git", f"--git-dir={here / 'data.git'}"]
        told = run(
            [*command, "log", "--format=%T", "main"], environment=environment(), directory=tmp_path
        ).output.split()
        trees.add(tuple(told))
        left = [path.name for path in here.iterdir() if path.is_dir()]
        assert sorted(left) in (["data.git"], ["data.git", "workspaces"])
    [(published, original)] = trees
    assert published != original


def test_a_copied_repository_can_change_without_the_original(tmp_path):
    source = make_git_repository(Content(3, 100), tmp_path)
    before = content(source)
    here = tmp_path / "here"
    here.mkdir()
    perago(Case(source, 3), here, WORD)
    assert content(source) == before
    assert content(copy_repository(source, tmp_path / "copy")) == before


def test_a_plot_has_its_points_in_order_and_no_markup_from_names():
    drawn = plot(
        "a < b", "x", "y", {"one & all": {10: Spread(1, 1, 2), 100: Spread(5, 4, 6)}, "two": {10: Spread(2, 2, 2)}}
    )
    assert "a &lt; b" in drawn
    assert "one &amp; all" in drawn
    [first, last] = drawn.split('points="')[1].split('"')[0].split()
    assert float(first.split(",")[0]) < float(last.split(",")[0])
    assert float(first.split(",")[1]) > float(last.split(",")[1])


def test_on_even_axes_even_growth_is_a_straight_line_from_the_corner():
    taken = {number: Spread(number / 10, number / 10, number / 10) for number in (10, 70, 200)}
    drawn = plot("t", "x", "y", {"one": taken}, even=True)
    first, middle, last = (
        [float(at) for at in point.split(",")] for point in drawn.split('points="')[1].split('"')[0].split()
    )
    assert (middle[1] - first[1]) / (middle[0] - first[0]) == pytest.approx(
        (last[1] - first[1]) / (last[0] - first[0]), rel=0.01
    )
    assert first[0] < middle[0] < last[0]
    assert first[1] > middle[1] > last[1]


def test_a_straight_line_is_found_with_what_is_off_it():
    line = straight_line({10: 1.2, 100: 3.0, 1000: 21.0})
    assert (line.base, line.each, line.off) == (pytest.approx(1.0), pytest.approx(0.02), pytest.approx(0.0, abs=1e-9))
    assert straight_line({10: 1.0, 100: 100.0, 1000: 10000.0}).off > 0.5


def comparison(**samples):
    """Samples of so many seconds."""
    made = {side: [Sample(value, Usage(value, 0, 1), {}) for value in values] for side, values in samples.items()}
    return Comparison("title", made)


def test_what_was_measured_once_is_compared_with_each_sample_of_another():
    slow = comparison(ours=[1.0, 2.0, 4.0], theirs=[8.0])
    assert slow.ratio("theirs", "ours", publishing) == Spread(4.0, 2.0, 8.0)
    assert slow.ratio("ours", "theirs", publishing) == Spread(0.25, 0.125, 0.5)


def test_a_side_that_takes_too_long_has_one_turn_between_the_others(tmp_path):
    turns = []

    def side(name):
        def take(directory, _word):
            turns.append(name)
            return Sample(1.0, Usage(1.0, 0, 1), {})

        return take

    taken = compare("t", {"a": side("a"), "slow": side("slow")}, 3, tmp_path, rounds_before=1, once=("slow",))
    assert turns == ["a", "a", "a", "slow", "a"]
    assert {name: len(samples) for name, samples in taken.samples.items()} == {"a": 3, "slow": 1}


def test_who_measures_loads_nothing_large(tmp_path):
    """The kernel counts a program's memory from the fork on: whoever starts it is the least that can be measured."""
    parts = "benchmarks.git.part, benchmarks.lakefs.part"
    code = f"import benchmarks.__main__, {parts}, sys; print(*{{'perago', 'pygit2', 'aiohttp'}} & set(sys.modules))"
    assert run([sys.executable, "-c", code], environment=environment(), directory=tmp_path).output == "\n"


MACHINE = {"kernel": "any"}
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def written_section(title):
    measured = Measured(title=title, versions={"tool": "1.0"}, short=("fast",), text=f"### Of {title}\n")
    return section(measured, MACHINE, NOON, "make bench")


def test_a_part_that_is_measured_again_leaves_the_others_as_they_are(tmp_path):
    results = Results(tmp_path)
    results.put("other", written_section("The other"), {"other-plot.svg": "<svg/>"})
    results.put("git", written_section("First"), {"git-a.svg": "<svg/>", "git-b.svg": "<svg/>"})
    path = results.put("git", written_section("Second"), {"git-a.svg": "<svg>new</svg>"})
    text = path.read_text()
    assert "First" not in text
    assert text.count("# Results\n") == 1
    assert text.index("## Second") < text.index("## The other") < text.index("### Of The other")
    assert "Made by `make bench` on 2026-11-25 at 12:00 UTC" in text
    assert "| tool | 1.0 |" in text
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == ["git-a.svg", "other-plot.svg"]
    assert (tmp_path / "git-a.svg").read_text() == "<svg>new</svg>"
    results.put("git", written_section("Second"), {"git-a.svg": "<svg>new</svg>"})
    assert path.read_text() == text, "measuring the same twice changes nothing"


def test_a_plot_of_another_part_cannot_be_overwritten(tmp_path):
    with pytest.raises(AssertionError, match="another part"):
        Results(tmp_path).put("git", written_section("t"), {"lakefs-plot.svg": "<svg/>"})
