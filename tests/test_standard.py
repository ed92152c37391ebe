"""Standard deployments: 429s by cause, cost per token, no utilization; and that a declared PTU that looks like one is doubted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
from ptubench.analysis.causes import CAUSES, cause
from ptubench.errors import UsageError
from ptubench.ptu import catalogue, prices
from ptubench.record import THROTTLED_IN_BAND
from ptubench.sim.deployment import Admitted, Call, Deployment, Refused
from ptubench.sim.options import from_mapping, parse
from runs import failed, ok, steady, summary, throttled

pytestmark = pytest.mark.alone

STANDARD = {"kind": "azure", "model": "gpt-4.1", "type": "standard"}
PTU = {"kind": "azure", "model": "gpt-4.1", "ptu": 15, "type": "global"}
LIMITS = {"x-ratelimit-limit-tokens": "30000", "x-ratelimit-limit-requests": "30"}


def left(*, requests: str = "9", tokens: str = "9000"):
    return LIMITS | {"x-ratelimit-remaining-requests": requests, "x-ratelimit-remaining-tokens": tokens}


# --- why a 429 was one


@pytest.mark.parametrize(
    ("headers", "ptu", "expected"),
    [
        ({"retry-after-ms": "1500"}, True, "capacity"),
        ({}, True, "capacity"),
        ({"retry-after": "2"}, False, "unknown"),
        (left(requests="0"), False, "quota"),
        (left(tokens="0"), False, "quota"),
        (left(tokens="149"), False, "quota"),
        (left(tokens="150"), False, "high_demand"),
        (left(), True, "high_demand"),
        (left(requests="-1"), True, "quota"),
        (left(requests="soon", tokens="later"), False, "unknown"),
        (LIMITS, True, "capacity"),
    ],
)
def test_the_cause_is_told_from_status_and_headers(headers, ptu, expected):
    refused = throttled(0, 20, headers=headers, prompt_asked=100, limit=50)

    assert cause(refused, ptu=ptu) == expected


def test_what_was_not_throttled_has_no_cause():
    answers = [ok(0, 20, headers=left(requests="0")), failed(1, 20), throttled(2, 20, cut=True)]

    assert [cause(attempt, ptu=True) for attempt in answers] == [None, None, None]


@given(
    st.dictionaries(st.sampled_from(sorted(left())), st.text(max_size=5) | st.integers().map(str)),
    st.booleans(),
    st.booleans(),
)
def test_every_429_has_a_cause_that_is_explained(headers, ptu, in_band):
    attempt = throttled(0, 20, headers=headers, status=200 if in_band else 429)
    attempt = ok(0, 20, headers=headers, flags=(THROTTLED_IN_BAND,)) if in_band else attempt

    assert cause(attempt, ptu=ptu) in CAUSES


def test_429s_are_counted_by_cause_and_each_retry_is_one(tmp_path):
    lines = [
        *steady(20),
        *[throttled(100 + i, 20 + i, headers=left(requests="0")) for i in range(4)],
        *[throttled(200 + i, 30 + i, headers=left()) for i in range(3)],
        throttled(300, 40, headers=left()),
        ok(300, 40, attempt=1, sent=42),
    ]

    result = summary(tmp_path, *lines, target=STANDARD)["metrics"]

    assert result["throttled"]["by_cause"] == {"quota": 4, "high_demand": 4}
    assert result["throttled"]["count"] == 7
    assert result["attempts"]["throttled"] == 8


def test_a_429_of_the_deployment_that_was_spilled_to_is_not_one_of_ptu(tmp_path):
    spilled = throttled(100, 20, headers={"x-ms-spillover-from-deployment": "mine"})

    assert summary(tmp_path, *steady(20), spilled, target=PTU)["metrics"]["throttled"]["by_cause"] == {"unknown": 1}


# --- a declared PTU


def test_rate_limit_headers_on_a_declared_ptu_are_a_warning(tmp_path):
    lines = [*steady(20), ok(100, 30, headers=left())]

    def codes(target):
        return [note["code"] for note in summary(tmp_path, *lines, target=target)["notes"]]

    assert "ratelimit_headers" in codes(PTU)
    assert "ratelimit_headers" in codes({"kind": "azure", "type": "regional"})
    assert "ratelimit_headers" not in codes(STANDARD)
    assert "ratelimit_headers" not in codes({"kind": "azure"})


def test_rate_limit_headers_of_a_spilled_or_diverted_answer_are_none_of_the_targets(tmp_path):
    elsewhere = [
        ok(100, 30, headers=left() | {"x-ms-spillover-from-deployment": "mine"}),
        throttled(101, 31),
        ok(101, 31, attempt=1, sent=31.1, diverted=True, headers=left()),
    ]
    result = summary(tmp_path, *steady(20), *elsewhere, target=PTU)

    assert "ratelimit_headers" not in [note["code"] for note in result["notes"]]


# --- no utilization, but a cost


def test_a_standard_deployment_has_a_cost_and_no_utilization(tmp_path):
    lines = [ok(i, 10 + i, prompt_tokens=1000, cached_tokens=400, completion_tokens=100) for i in range(58)]

    result = summary(tmp_path, *lines, target=STANDARD)

    metrics, cost = result["metrics"], result["metrics"]["cost"]
    assert metrics["utilization"] == {
        "estimated": {"mean": None, "peak_minute": None},
        "monitor": None,
        "simulated": None,
    }
    assert metrics["tpm"]["normalized"] is None
    assert cost["total"] == pytest.approx(58 * (600 * 2 + 400 * 0.5 + 100 * 8) / 1e6)
    assert cost["per_million_tokens"] == pytest.approx((600 * 2 + 400 * 0.5 + 100 * 8) / 1100)
    assert (cost["currency"], cost["why"]) == ("USD", None)
    assert "list price of 2026-11-22 (third party)" in cost["source"]
    assert not {"no_capacity", "no_cost"} & {note["code"] for note in result["notes"]}


@pytest.mark.parametrize(
    ("target", "changes", "why"),
    [
        (
            STANDARD | {"model": "gpt-5.5"},
            {},
            "no cost: the prices of 2026-11-22 have no list price for `gpt-5.5`",
        ),
        (
            {"kind": "azure", "type": "standard"},
            {"model": None},
            "no cost: the prices of 2026-11-22 have no list price for a model that nobody named (give `--model`)",
        ),
        (
            STANDARD | {"model": "gpt-4o"},
            {"cached_tokens": 50},
            "no cost: the price of cached tokens of `gpt-4o` is not known, and some were cached",
        ),
        (STANDARD, {"prompt_tokens": None, "completion_tokens": None}, "no cost: no tokens were told"),
    ],
)
def test_a_cost_that_is_not_known_is_null_with_a_sentence(target, changes, why, tmp_path):
    result = summary(tmp_path, *steady(20, **changes), target=target)

    assert result["metrics"]["cost"]["total"] is result["metrics"]["cost"]["per_million_tokens"] is None
    assert why in [note["text"] for note in result["notes"]]


def test_a_model_nobody_typed_has_the_price_of_the_one_that_answered(tmp_path):
    result = summary(tmp_path, *steady(20), target={"kind": "azure", "type": "standard"})

    assert result["metrics"]["cost"]["per_million_tokens"] == pytest.approx((100 * 2 + 20 * 8) / 120)


def test_ptu_is_not_billed_per_token_and_what_is_spilled_is(tmp_path):
    spilled = [ok(100 + i, 30 + i, headers={"x-ms-spillover-from-deployment": "mine"}) for i in range(6)]

    result = summary(tmp_path, *steady(20), *spilled, target=PTU)

    assert result["metrics"]["cost"]["total"] is result["groups"]["first"]["cost"]["total"] is None
    assert result["groups"]["spilled"]["cost"]["total"] == pytest.approx(6 * (100 * 2 + 20 * 8) / 1e6)
    assert "no_cost" not in [note["code"] for note in result["notes"]]


def test_what_was_diverted_costs_what_the_second_target_takes(tmp_path):
    lines = [throttled(100, 30), ok(100, 30, attempt=1, sent=30.1, diverted=True)]
    second = {"kind": "azure", "type": "standard", "model": "gpt-4.1-mini"}

    result = summary(tmp_path, *steady(20), *lines, target=PTU, divert_to=second)

    assert result["groups"]["diverted"]["cost"]["total"] == pytest.approx((100 * 0.4 + 20 * 1.6) / 1e6)
    assert result["target"]["divert_to"] == second


def test_a_rule_may_limit_the_cost_and_the_429s_of_a_cause(tmp_path):
    rules = ("cost.per_million_tokens <= 3", "throttled.by_cause.high_demand <= 0", "throttled.by_cause.quota <= 0")

    rows = summary(tmp_path, *steady(20), throttled(100, 30, headers=left()), target=STANDARD, checks=rules)["checks"]

    assert [row["passed"] for row in rows] == [True, False, True]


# --- the prices


def test_prices_have_a_date_and_each_a_source():
    assert prices.dated() == "2026-11-22"
    assert {price.source for price in prices.shipped().models.values()} == {"official", "third party"}


def test_every_price_is_of_a_model_in_the_catalogue_and_output_costs_more():
    for name, price in prices.shipped().models.items():
        model = catalogue.find(name)

        assert model is not None
        assert model.name == name
        assert (price.cached or 0) < price.input < price.output


def test_the_published_example_of_a_fully_used_ptu_comes_out():
    """One PTU, 30 days, full: 25.92 M normalized tokens of gpt-6-astra and 129.6 M of gpt-6-sol, both worth $259.20."""
    worth = {}
    for name in ("gpt-6-astra", "gpt-6-sol"):
        tokens = catalogue.find(name).tpm_per_ptu * 60 * 24 * 30
        worth[name] = (tokens, prices.find(name).of(tokens, 0, 0))

    assert worth == {
        "gpt-6-astra": (25.92e6, pytest.approx(259.20)),
        "gpt-6-sol": (129.6e6, pytest.approx(259.20)),
    }


# --- a simulated one


def test_a_quota_counts_every_token_alike():
    sim = Deployment(parse("gpt-4.1:1,type=standard"))
    first = sim.offer(0, Call(prompt=710, limit=300, asked=300))

    assert isinstance(first, Admitted)
    assert first.estimate == 1010
    assert sim.remaining(0) == 0
    assert isinstance(sim.offer(0, Call(prompt=1)), Refused)
    assert sim.remaining(30) == 490


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpt-4.1:50,demand=20%", "high demand refuses calls of a standard deployment only"),
        ("gpt-4.1:50,type=standard,spill=gpt-4.1:100", "only a PTU deployment spills"),
    ],
)
def test_what_only_one_kind_of_deployment_does_is_refused_of_the_other(text, says):
    with pytest.raises(UsageError, match=says):
        parse(text)


def test_high_demand_is_refused_although_the_quota_has_room():
    sim = Deployment(from_mapping({"model": "gpt-4.1", "ptu": 1000, "type": "standard", "demand": "20%"}))
    answers = [sim.offer(i, Call(prompt=10, limit=10)) for i in range(2000)]
    refused = [answer for answer in answers if isinstance(answer, Refused)]

    assert len(refused) / 2000 == pytest.approx(0.2, abs=0.03)
    assert max(answer.level for answer in refused) < 0.1


def test_a_run_on_a_simulated_standard_deployment(tmp_path_factory):
    deployment = "gpt-4.1:200,type=standard,latency=0.02,tps=500"
    common = {"prompt_tokens": 60, "completion_tokens": 10, "duration": "3s", "warmup": "500ms"}
    loads = {"over": ("level=full", "100/s"), "busy": ("demand=20%", "25/s")}

    def measure():
        folder = tmp_path_factory.mktemp("standard")
        return running.finish(
            [
                running.start(
                    *(folder / name, "--simulate", f"{deployment},{option}"),
                    load={"rate": rate, "arrivals": "constant"},
                    **common,
                )
                for name, (option, rate) in loads.items()
            ]
        )

    over, busy = running.calmly(measure, lambda runs: all(run.calm for run in runs))

    assert (over.summary["target"]["type"], over.summary["target"]["ptu"]) == ("standard", None)
    assert over.metrics["tpm"]["normalized"] is over.metrics["utilization"]["simulated"] is None
    assert over.metrics["throttled"]["by_cause"] == {"quota": over.metrics["requests"]["throttled"]}
    assert over.metrics["tpm"]["total"] == pytest.approx(200_000, rel=0.1)
    tpm = over.metrics["tpm"]  # the window's edges cut some answers from their prompts
    cost = (tpm["prompt"] * 2 + tpm["completion"] * 8) / tpm["total"]
    assert over.metrics["cost"]["per_million_tokens"] == pytest.approx(cost)
    assert cost == pytest.approx((60 * 2 + 10 * 8) / 70, rel=0.1)
    assert busy.metrics["throttled"]["by_cause"] == {"high_demand": busy.metrics["requests"]["throttled"]}
