"""Who answered: what was retried, diverted or spilled is told apart, and the target's own numbers are its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptubench.analysis.summary import summarize
from ptubench.record import THROTTLED_IN_BAND
from runs import cut, dropped, end, failed, head, ok, steady, summary, throttled, write

TARGET = {"kind": "azure", "model": "gpt-4.1", "ptu": 1}
SPILLED = {"x-ms-spillover-from-deployment": "mine", "x-ms-deployment-name": "other", "x-ms-spillover-error": "429"}


def retried(index, due, *, wait=1.5, **changes):
    """Refused, waited, answered."""
    again = ok(index, due, attempt=1, sent=due + 0.005 + wait, waited=wait, **changes)
    return [throttled(index, due), again]


def gave_up(index, due):
    """Refused three times."""
    later = [{"attempt": k, "sent": due + k, "answered": due + k + 0.005, "waited": 1.0} for k in (1, 2)]
    return [throttled(index, due), throttled(index, due, **later[0]), throttled(index, due, **later[1], gave_up=True)]


def diverted(index, due, **changes):
    """Refused, and at once answered by the second target, slowly."""
    slow = {"ttft": 0.5, "e2e": 3.0, "model": "gpt-4.1-mini", **changes}
    return [throttled(index, due), ok(index, due, attempt=1, sent=due + 0.01, diverted=True, **slow)]


def spilled(index, due, **changes):
    """Answered by another deployment of the service, slowly."""
    return ok(index, due, **{"ttft": 0.8, "e2e": 4.0, "headers": SPILLED, **changes})


def many(make, count, *, first, start=20.0, step=0.5):
    """Requests of one kind in a row."""
    made = (make(first + i, start + i * step) for i in range(count))
    return [line for lines in made for line in (lines if isinstance(lines, list) else [lines])]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Of each kind ten, of those answered at once forty."""
    lines = [
        *steady(40, start=12.0),
        *many(retried, 10, first=100, start=20.1),
        *many(gave_up, 10, first=200, start=20.2),
        *many(diverted, 10, first=300, start=20.3),
        *many(spilled, 10, first=400, start=20.4),
    ]
    return summary(tmp_path_factory.mktemp("mixed"), *lines, target=TARGET, divert_to={"kind": "azure"})


def test_each_way_of_handling_is_counted(mixed):
    requests, attempts = mixed["metrics"]["requests"], mixed["metrics"]["attempts"]

    assert {name: requests[name] for name in ("total", "ok", "throttled")} == {"total": 80, "ok": 70, "throttled": 10}
    assert {name: requests[name] for name in ("retried", "diverted", "spilled", "gave_up")} == {
        "retried": 30,  # more than one attempt: the diverted too
        "diverted": 10,
        "spilled": 10,
        "gave_up": 10,
    }
    assert (attempts["total"], attempts["throttled"]) == (40 + 20 + 30 + 10 + 10, 10 + 30 + 10)


def test_whatever_the_target_did_not_serve_at_its_first_attempt_was_refused(mixed):
    assert mixed["metrics"]["refused"]["count"] == 40
    assert mixed["metrics"]["refused"]["ratio"] == 0.5
    assert mixed["metrics"]["throttled"]["ratio"] == 0.125


def test_latency_is_that_of_the_target_itself(mixed):
    metrics = mixed["metrics"]

    assert metrics["ttft"]["of"] == metrics["ttft"]["count"] == 50
    assert metrics["ttft"]["max"] == pytest.approx(0.1)
    assert metrics["e2e"]["max"] == pytest.approx(1.0)
    assert metrics["completion_tokens"]["of"] == 50


def test_waits_are_in_the_time_since_due_and_not_in_the_latency(mixed):
    group = mixed["groups"]["retried"]

    assert group["e2e"]["max"] == pytest.approx(1.0)
    assert group["e2e_scheduled"]["min"] == pytest.approx(1.0 + 1.505)
    assert mixed["metrics"]["waited"]["count"] == 20
    assert mixed["metrics"]["waited"]["min"] == pytest.approx(1.5)
    assert mixed["metrics"]["waited"]["max"] == pytest.approx(2.0)


def test_each_group_has_its_own_distributions(mixed):
    groups = mixed["groups"]

    assert set(groups) == {"first", "retried", "diverted", "spilled"}
    assert {name: group["requests"]["total"] for name, group in groups.items()} == {
        "first": 40,
        "retried": 30,
        "diverted": 10,
        "spilled": 10,
    }
    assert {name: group["ttft"]["p50"] for name, group in groups.items()} == {
        "first": pytest.approx(0.1),
        "retried": pytest.approx(0.1),
        "diverted": pytest.approx(0.5),
        "spilled": pytest.approx(0.8),
    }
    assert set(groups["spilled"]) == set(mixed["metrics"])
    assert groups["diverted"]["attempts"] == {"total": 10, "throttled": 0, "throttled_ratio": 0.0}


def test_rates_tokens_and_utilization_are_of_what_burdened_the_target(mixed):
    metrics, groups = mixed["metrics"], mixed["groups"]

    assert metrics["rpm"]["admitted"] == metrics["rpm"]["completed"] == 50
    assert metrics["tpm"]["prompt"] == pytest.approx(50 * 100)
    assert metrics["tpm"]["normalized"] == pytest.approx(50 * (100 + 4 * 20))
    assert metrics["utilization"]["estimated"]["mean"] == pytest.approx(50 * 180 / 3000)
    assert groups["diverted"]["tpm"]["prompt"] == groups["spilled"]["tpm"]["prompt"] == pytest.approx(1000)
    assert groups["diverted"]["tpm"]["normalized"] is groups["spilled"]["utilization"]["estimated"]["mean"] is None


def test_the_model_of_a_second_target_is_no_change_of_the_model(mixed):
    assert mixed["target"]["model_served"] == "gpt-4.1-2025-04-14"
    assert "model_changed" not in {reason["code"] for reason in mixed["validity"]["reasons"]}


def test_the_timeline_tells_what_was_sent_where(mixed):
    total = {
        name: sum(row[name] for row in mixed["timeline"]) for name in ("sent", "ok", "throttled", "spilled", "diverted")
    }

    assert total == {"sent": 110, "ok": 50, "throttled": 50, "spilled": 10, "diverted": 10}


def test_latency_over_time_is_that_of_the_target_itself(mixed):
    assert sum(part["count"] for part in mixed["latency"]) == 50


def test_without_any_of_it_there_are_no_groups(tmp_path):
    assert summary(tmp_path, *steady(20), throttled(50, 30), failed(51, 31), dropped(52, 32))["groups"] == {}


def test_a_failed_answer_of_a_second_target_is_unanswered_there_and_nowhere_else(tmp_path):
    lines = [*steady(40), throttled(100, 20), failed(100, 20, attempt=1, sent=20.1, end=21.0, diverted=True)]

    result = summary(tmp_path, *lines, divert_to={"kind": "azure"})

    second = result["groups"]["diverted"]["e2e"]
    assert (second["count"], second["of"]) == (0, 1)
    assert result["metrics"]["e2e"]["of"] == result["metrics"]["e2e"]["count"] == 40
    assert result["metrics"]["requests"]["failed"] == 1


def test_a_failure_that_was_retried_is_no_refusal(tmp_path):
    lines = [*steady(40), failed(100, 20, "http_503", status=503), ok(100, 20, attempt=1, sent=21.5, waited=0.5)]

    metrics = summary(tmp_path, *lines)["metrics"]

    assert (metrics["refused"]["count"], metrics["requests"]["retried"], metrics["failed"]["count"]) == (0, 1, 0)
    assert metrics["waited"]["max"] == pytest.approx(0.5)


def test_a_request_cut_while_it_was_retried_is_unanswered(tmp_path):
    lines = [*steady(40), throttled(100, 60), cut(100, 60, attempt=1, sent=62.0, waited=1.9)]

    metrics = summary(tmp_path, *lines)["metrics"]

    assert metrics["requests"]["cut"] == metrics["refused"]["count"] == 1
    assert (metrics["e2e"]["of"], metrics["e2e"]["count"]) == (41, 40)


def test_a_429_inside_a_stream_is_a_refusal_and_no_answer(tmp_path):
    told = [
        ok(100 + i, 20 + i, flags=(THROTTLED_IN_BAND,), first_content=None, last_content=None, finish=None)
        for i in range(6)
    ]

    metrics = summary(tmp_path, *steady(40), *told)["metrics"]

    assert metrics["requests"]["throttled"] == metrics["refused"]["count"] == 6
    assert metrics["throttled"]["by_cause"] == {"in_band": 6}
    assert metrics["ttft"]["of"] == metrics["rpm"]["admitted"] == 40
    assert metrics["reject"]["p50"] == pytest.approx(1.0)
    assert metrics["throttled"]["first_s"] == pytest.approx(21.0)


def test_spillover_is_said_when_it_is_seen_and_when_it_is_known(tmp_path):
    def codes(*lines, **of_head):
        return [note["code"] for note in summary(tmp_path, *lines, **of_head)["notes"]]

    assert "spillover" in codes(*steady(20), spilled(100, 30))
    assert "spillover" in codes(*steady(20), target=TARGET | {"spillover": "other"})
    assert "spillover" not in codes(*steady(20), target=TARGET)


def test_classes_count_what_the_target_itself_answered(tmp_path):
    short = [ok(i, 12 + i, name="short") for i in range(20)]
    apart = [spilled(100 + i, 12.5 + i, name="short") for i in range(10)]

    result = summary(tmp_path, *short, *apart)

    assert result["groups"]["class:short"]["refused"]["ratio"] == pytest.approx(1 / 3)
    assert result["groups"]["class:short"]["ttft"]["max"] == pytest.approx(0.1)


KINDS = {
    "ok": lambda i, due: [ok(i, due)],
    "throttled": lambda i, due: [throttled(i, due)],
    "failed": lambda i, due: [failed(i, due)],
    "retried": retried,
    "gave_up": gave_up,
    "diverted": diverted,
    "spilled": lambda i, due: [spilled(i, due)],
    "spilled_429": lambda i, due: [throttled(i, due, headers=SPILLED)],
}


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=40))
@settings(max_examples=40)
def test_parts_and_whole_agree_whatever_happened(tmp_path_factory, kinds):
    lines = [line for i, kind in enumerate(kinds) for line in KINDS[kind](i, 12.0 + i)]
    path = write(tmp_path_factory.mktemp("law") / "run.jsonl", head(target=TARGET), *lines, end())

    result = summarize(path)

    whole, groups = result["metrics"], result["groups"]
    sizes = {name: group["requests"]["total"] for name, group in groups.items()} or {"first": len(kinds)}
    assert whole["requests"]["total"] == len(kinds)
    assert sum(sizes.get(name, 0) for name in ("first", "retried", "spilled")) == len(kinds)
    assert whole["refused"]["count"] == len([kind for kind in kinds if kind not in ("ok", "failed")])
    assert sum(whole["throttled"]["by_cause"].values()) == whole["attempts"]["throttled"]
    assert whole["rpm"]["completed"] == kinds.count("ok") + kinds.count("retried")
    served = kinds.count("ok") + kinds.count("retried") + kinds.count("failed")
    assert whole["e2e"]["of"] == served
    assert groups.get("diverted", {"e2e": {"of": 0}})["e2e"]["of"] == kinds.count("diverted")
