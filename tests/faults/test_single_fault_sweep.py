"""Every call of an attempt meets every kind of fault, in every scenario, on both stores; then faults stop."""

import pytest

from fault_scenarios import KINDS, SCENARIOS, sweep_scenario
from fault_stores import STORES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("store", STORES)
def test_nothing_is_lost_or_done_twice_wherever_a_fault_strikes(
    fast_path, fault_counts, point_counts, broken_points, store, scenario, kind
):
    swept = sweep_scenario(fast_path, STORES[store], SCENARIOS[scenario], KINDS[kind])
    fault_counts[f"{store}/{kind.partition(',')[0]}"] += swept.met
    point_counts.update(there=swept.there, met=swept.met)
    broken_points[f"{store}/{kind}"] += len(swept.broken)
    assert swept.broken == {}
    assert swept.there >= 5
