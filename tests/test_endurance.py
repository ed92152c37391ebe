"""Short forms of `benchmarks/soak.py` and `benchmarks/kills.py`: whatever fails or is killed, the books balance."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc"),
]

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
BUSY = 5.0
"""Times what the programs demand of an idle machine, in seconds."""


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_three_times_killed_a_file_has_what_was_answered_and_nothing_more_arrives(tmp_path):
    import kills

    victims = [("parent", 0.7, False), ("parent", 0.3, True), ("worker", 0.5, False)]
    folders = [tmp_path / str(number) for number in range(len(victims))]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor() as pool:
        under_way = [
            pool.submit(kills.kill, folder, victim, moment, compress=compress)
            for folder, (victim, moment, compress) in zip(folders, victims, strict=True)
        ]
        found = [one.result() for one in under_way]

    assert [one.reads_as for one in found] == ["killed, 0 lost", "killed, 0 lost", "completed, 1 lost"]
    assert max(one.lost_s for one in found) <= BUSY
    assert max(one.late_s for one in found) <= BUSY
    assert [one.astray for one in found] == [0, 0, 0]


def test_with_every_fault_each_request_is_in_the_file_once_and_the_outcomes_add_up(tmp_path):
    import soak

    found = soak.soak(tmp_path, duration=2.0, rate=200.0)

    assert (found.astray, found.unbalanced) == (0, 0)
    assert found.planned > 300
    assert len(found.failures) > 10
    assert {"parent", "worker 1", "worker 2", "simulator"} == set(found.samples)


def test_growth_is_that_of_the_least_of_each_third():
    import soak

    assert soak.least([100.0, 300, 110, 300, 105, 300]) == (100.0, 105.0)


def test_memory_without_need_is_what_no_answer_under_way_explains():
    import soak

    samples = [soak.Sample(float(at), mb, 9) for at, mb in enumerate([50.0, 84, 120, 51, 53])]

    assert soak.needless(samples, [(0.5, 2.5), (1.9, 2.0)]) == 6.0
    assert soak.needless(samples, [(1.0, 2.0)]) == 38.0
    assert soak.needless(samples) == 70.0
