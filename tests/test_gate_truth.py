"""What the gate is for: stored runs of simulated deployments, with and without a regression that is known."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc")
@pytest.mark.parametrize("number", range(2))
def test_a_regression_of_runs_of_two_thousand_calls_is_found_and_none_is_where_none_is(number, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gate  # benchmarks/gate.py, which counts a hundred of them

    rows = gate.pair(number, (gate.TTFT, gate.REFUSED))

    # The clock is virtual: the same seeds have the same runs everywhere.
    assert [row["passed"] is not differs for _, differs, row in rows] == [True] * 4
    assert [row["rule"] for _, _, row in rows] == [gate.RULES[name] for name in (gate.TTFT, gate.REFUSED) for _ in "ab"]
