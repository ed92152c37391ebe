"""What refused parameters, forged files and second targets once got wrong, each as it was found."""

import math

import pytest

import runs
from goldens import shown
from ptubench.analysis.summary import summarize
from ptubench.record import Monitor, Series
from ptubench.report.throttling import throttling

START = int(runs.STARTED.timestamp())


@pytest.mark.parametrize("left", ["nan", "1e400", "-inf", "many"])
def test_a_rate_limit_that_tells_no_number_tells_no_room(tmp_path, left):
    headers = {"x-ratelimit-remaining-tokens": left}
    throttled = runs.throttled(0, 20.0, headers=headers)
    metrics = runs.summary(tmp_path, throttled, target={"kind": "azure", "type": "standard"})["metrics"]

    assert metrics["throttled"]["by_cause"] == {"unknown": 1}


@pytest.mark.parametrize("asked", [1e300, -1e300, 1e12])
def test_a_moment_in_no_calendar_is_none(tmp_path, asked):
    series = Series(metric="AzureOpenAIRequests", total={START: 1.0, START + 60: 1.0})
    told = Monitor(of="run", asked_unix=asked, id="/x", deployment="d", span=(START, START + 120), series=(series,))
    head = runs.head(window=(0.0, 120.0), duration=120, warmup=0)
    path = runs.write(tmp_path / "run.jsonl", head, runs.ok(0, 1.0), runs.end(load_end=120.0, finished=122.0), told)
    monitor = summarize(path)["monitor"]

    assert monitor["asked_at"] is None
    assert monitor["minutes"] == 2


def test_times_that_can_not_be_leave_every_number_finite(tmp_path):
    forged = {"waited": 1e300, "lane_wait": 1e300, "connect_s": -1e300, "last_content": 1e300, "end": 1e300}
    rows = [runs.ok(i, 20.0 + i, attempt=1, **forged) for i in range(8)]
    firsts = [runs.throttled(i, 20.0 + i) for i in range(8)]
    summary = runs.summary(tmp_path, *firsts, *rows, runs.ok(8, 1e300), runs.dropped(9, -1e300))

    assert summary["metrics"]["waited"]["std"] is None
    assert summary["metrics"]["requests"]["retried"] == 8
    assert not list(not_finite(summary))


def test_what_was_diverted_and_refused_there_too_has_a_row(tmp_path):
    both = [[runs.throttled(i, 20.0 + i), runs.throttled(i, 20.0 + i, attempt=1, diverted=True)] for i in range(8)]
    found = runs.summary(tmp_path, *runs.steady(8, 100), *(line for lines in both for line in lines))
    rows = [line.split() for line in shown(throttling(found), width=120).splitlines()]

    assert ["diverted", "8", "0", "–", "–", "–", "–"] in rows
    assert "diverted: by the second target, 8 answered 429 there too, none answered" in shown(
        throttling(found), width=120
    )


def not_finite(value, where=""):
    """The paths of infinities and NaNs."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield from not_finite(held, f"{where}.{key}")
    elif isinstance(value, list):
        for held in value:
            yield from not_finite(held, where)
    elif isinstance(value, float) and not math.isfinite(value):
        yield where
