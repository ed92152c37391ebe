"""Abort rules: they end what is clearly lost, and nothing else."""

from functools import partial

import numpy as np
import pytest

from goldens import shown
from ptubench.analysis import abort
from ptubench.analysis.summary import summarize
from ptubench.engine import retry
from ptubench.errors import UsageError
from ptubench.record import Aborted, Attempt
from ptubench.report.table import render
from ptubench.workload.model import Throttling
from runs import cut, dropped, end, failed, head, ok, steady, throttled, tick, write
from trials import attempts, trial


def watching(*texts, window=(10.0, 70.0), **policy):
    """What watches these rules over a run with this policy for 429s."""
    rules = [abort.parse(text, where="x") for text in texts]
    return abort.Watch(rules, window=window, is_last=partial(retry.is_last, policy=Throttling(**policy)))


def first(watch, found):
    """What ended a run of these lines; None if nothing did."""
    return next(filter(None, map(watch, found)), None)


BAD = [failed(i, 10 + i * 0.1) for i in range(40)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ttft.p95 <= 1s", f"ttft.p95 is known only after the run; an abort rule can be on {', '.join(abort.METRICS)}"),
        (
            "failed.ratio > 20%",
            "an abort rule says what must hold, as a check does; to stop where it does not, write `failed.ratio <= 20%`",
        ),
        (
            "refused.count >= 20",
            "an abort rule says what must hold, as a check does; to stop where it does not, write `refused.count < 20`",
        ),
        ("failed.count < 0", "every run would be aborted; write a limit above 0, or `<= 0`"),
        ("failed.rato <= 1%", "unknown metric `failed.rato`; did you mean `failed.ratio`?"),
    ],
)
def test_a_rule_that_cannot_end_a_run_is_one_sentence_with_the_way_out(text, fault):
    with pytest.raises(UsageError) as caught:
        abort.parse(text, where="--abort")

    assert str(caught.value) == f"--abort: `{text}`: {fault}"


def test_a_run_that_is_clearly_lost_is_ended_and_what_was_seen_is_kept():
    found = first(watching("failed.ratio <= 20%"), [*BAD, tick(14)])

    assert found == Aborted(
        rule="failed.ratio <= 20%", at=15.0, measured=1.0, ci95=(pytest.approx(0.912, abs=0.001), 1.0), of=40
    )
    assert abort.sentence(found) == (
        "`failed.ratio <= 20%` is clearly broken at 15s: 100 % of 40 requests, 95 % interval 91.2 % to 100 %"
    )


@pytest.mark.parametrize("text", ["failed.ratio <= 5%", "refused.ratio <= 5%", "throttled.ratio <= 5%"])
@pytest.mark.parametrize("count", [1, 2, 19])
def test_a_few_calls_never_show_that_a_run_is_lost(text, count):
    assert first(watching(text), [*BAD[:count], tick(20)]) is None
    assert first(watching(text), [*[throttled(i, 11) for i in range(count)], tick(20)]) is None


def test_a_share_within_chance_of_its_limit_goes_on():
    lines_ = [*steady(15), *[failed(100 + i, 12) for i in range(5)], tick(14)]

    assert first(watching("failed.ratio <= 20%"), lines_) is None
    assert first(watching("failed.ratio <= 5%"), lines_) is not None


def test_what_is_in_flight_may_still_end_well():
    """Refusals come at once, answers take a while: at the start of a window only refusals are known."""
    refusals = [throttled(i, 11) for i in range(20)]

    assert first(watching("refused.ratio <= 20%"), [*refusals, tick(11, in_flight=150)]) is None
    assert first(watching("refused.ratio <= 20%"), [*refusals, tick(11, in_flight=5)]) is not None


def test_neither_the_warm_up_nor_the_drain_is_judged():
    early = [failed(i, 9.9) for i in range(40)]

    assert first(watching("failed.ratio <= 20%", "failed.count <= 0"), [*early, tick(12)]) is None
    assert first(watching("failed.ratio <= 20%", "failed.count <= 0"), [*BAD, tick(69), tick(70)]) is None


@pytest.mark.parametrize(
    ("text", "lines_", "of"),
    [
        ("failed.count <= 2", BAD[:3], 3),
        ("requests.failed < 1", BAD[:1], 1),
        ("refused.count <= 2", [throttled(i, 11) for i in range(3)], 3),
        ("refused.count < 1", [ok(0, 11, headers={"x-ms-spillover-from-deployment": "d"})], 1),
        ("requests.throttled <= 0", [throttled(0, 11)], 1),
        ("throttled.count <= 0", [throttled(0, 11)], 1),
        ("requests.dropped <= 0", [dropped(0, 11)], 1),
    ],
)
def test_a_count_only_grows_so_one_beyond_its_limit_ends_the_run(text, lines_, of):
    found = first(watching(text), [*lines_, tick(12)])

    assert (found.rule, found.ci95, found.of) == (text, None, of)
    assert first(watching(text), [*lines_[:-1], tick(12)]) is None
    assert abort.sentence(found) == f"`{text}` is broken at 13s: {len(lines_)}"


def test_a_request_that_will_be_retried_has_not_failed_yet():
    tries = [failed(i, 11, kind="http_500", status=500) for i in range(30)]
    retry_ = {"on_429": "retry", "max_retries": 1}
    again = [ok(i, 11, attempt=1) for i in range(30)]
    gave_up = [failed(i, 11, kind="http_500", status=500, attempt=1, gave_up=True) for i in range(30)]

    assert first(watching("failed.ratio <= 20%", **retry_), [*tries, tick(12), *again, tick(13)]) is None
    assert first(watching("failed.ratio <= 20%", **retry_), [*tries, tick(12), *gave_up, tick(13)]).at == 14
    assert first(watching("failed.ratio <= 20%"), [*tries, tick(12)]).at == 13


def test_a_refusal_is_known_at_the_first_attempt_whatever_follows():
    tries = [throttled(i, 11) for i in range(30)]
    diverted = [ok(i, 11, attempt=1, diverted=True) for i in range(30)]

    for policy in ("retry", "divert"):
        assert first(watching("refused.ratio <= 20%", on_429=policy), [*tries, tick(12)]).measured == 1
    assert first(watching("throttled.ratio <= 20%", on_429="divert"), [*tries, *diverted, tick(12)]) is None


def test_the_counts_of_several_workers_are_put_together():
    both = [failed(i, 11, worker=i % 2) for i in range(24)]

    assert first(watching("failed.ratio <= 20%"), [*both, tick(12, worker=0)]) is None
    assert first(watching("failed.ratio <= 20%"), [*both, tick(12, worker=0), tick(12, worker=1)]).of == 24


def with_ticks(found, seconds):
    """Attempts as they come over, and the ticks of one worker; those of the virtual clock have none."""
    for t in range(seconds):
        yield from (attempt for attempt in found if t < attempt.end <= t + 1)
        yield tick(t, in_flight=sum(attempt.sent <= t + 1 < attempt.end for attempt in found))


def test_an_overloaded_deployment_ends_its_run_and_one_that_is_not_does_not():
    def aborted(rate):
        of = trial("gpt-4.1:50", load={"rate": rate}, warmup="1m", duration="10m", seed=3)
        return first(watching("refused.ratio <= 10%", window=(60.0, 600.0)), with_ticks(attempts(of), 600))

    assert aborted("80/min") is None
    assert aborted("200/min").at < 300


def test_an_aborted_run_says_so_first_and_fails_its_checks(tmp_path):
    found = Aborted(rule="failed.ratio <= 20%", at=15.0, measured=1.0, ci95=(0.912, 1.0), of=40)
    last = end(ended="aborted", load_end=15.0, finished=15.5, aborted=found, unsent=20)
    told = summarize(write(tmp_path / "run.jsonl", head(abort=("failed.ratio <= 20%",)), *BAD, cut(50, 14), last))
    seen = " ".join(shown(render(told)).split())

    assert seen.startswith("REAL known ABORTED `failed.ratio <= 20%` is clearly broken at 15s: 100 % of 40 requests")
    assert "aborted by a rule: partial" in seen
    assert told["run"]["aborted"]["rule"] == "failed.ratio <= 20%"
    assert told["checks"][0] == {
        "rule": "failed.ratio <= 20%",
        "metric": "failed.ratio",
        "op": "<=",
        "unit": "share",
        "measured": 1.0,
        "limit": 0.2,
        "ci95": [0.912, 1.0],
        "passed": False,
        "why": "aborted at 15s",
        "default": False,
    }


def test_what_decides_a_retry_also_says_which_attempt_is_the_last():
    policies = [Throttling(), Throttling(on_429="retry"), Throttling(on_429="divert", divert_to={})]
    ends = [ok(0, 1), throttled(0, 1), failed(0, 1, kind="tls"), cut(0, 1), throttled(0, 1, gave_up=True)]
    last = [[retry.is_last(attempt, policy) for attempt in ends] for policy in policies]

    assert last == [[True] * 5, [True, False, False, True, True], [True, False, True, True, False]]
    assert all(isinstance(attempt, Attempt) for attempt in ends)


def test_looking_again_and_again_seldom_ends_a_run_that_fails_half_as_often_as_it_may():
    draws = np.random.default_rng(5).random((100, 600)) < 0.025
    found = [
        first(
            watching("failed.ratio <= 5%", window=(0.0, 1000.0)),
            (line for i, bad in enumerate(run) for line in (failed(i, i) if bad else ok(i, i), tick(i))),
        )
        for run in draws
    ]

    assert sum(one is not None for one in found) <= 5
