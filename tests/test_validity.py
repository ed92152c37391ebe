"""The verdict table: each signal just below, between and above its limits."""

import pytest

from ptubench import histogram
from ptubench.analysis.summary import summarize
from runs import cut, dropped, end, failed, head, ok, steady, summary, throttled, tick, write


def late(count, lag):
    return [ok(1000 + i, 30 + i / 10, taken=30 + i / 10 + lag, sent=30 + i / 10 + lag) for i in range(count)]


def busy(cpu):
    return [tick(t, cpu=cpu) for t in range(10, 70)]


def slow_loop(seconds, cpu=0.25):
    return [
        tick(t, cpu=cpu, loop_lag={histogram.bucket(0.0001): 90, histogram.bucket(seconds): 10}) for t in range(10, 70)
    ]


CASES = {
    "a quiet client": ((*steady(100), *busy(0.5), *slow_loop(0.001)), "valid", None),
    "lag": ((*steady(90), *late(10, 0.02)), "degraded", "lag"),
    "large lag": ((*steady(90), *late(10, 0.2)), "invalid", "lag"),
    "large lag on slow answers": ((*steady(90, ttft=3.0, e2e=4.0), *late(10, 0.2)), "degraded", "lag"),
    "loop lag": ((*steady(100), *slow_loop(0.02)), "degraded", "loop_lag"),
    "large loop lag": ((*steady(100), *slow_loop(0.2)), "invalid", "loop_lag"),
    "busy": ((*steady(100), *busy(0.85)), "degraded", "cpu"),
    "too busy": ((*steady(100), *busy(0.97)), "invalid", "cpu"),
    "one dropped": ((*steady(99), dropped(200, 30)), "degraded", "dropped"),
    "many dropped": ((*steady(90), *[dropped(200 + i, 30) for i in range(10)]), "invalid", "dropped"),
    "one cut": ((*steady(99), cut(200, 30)), "degraded", "cut"),
    "many cut": ((*steady(90), *[cut(200 + i, 30) for i in range(10)]), "invalid", "cut"),
    "short answers": (steady(20, completion_tokens=15), "degraded", "short_answers"),
    "very short answers": (steady(20, completion_tokens=9), "invalid", "short_answers"),
    "nearly whole answers": (steady(20, completion_tokens=18), "valid", None),
    "long prompts": (steady(20, prompt_tokens=110), "degraded", "prompt_tokens"),
    "very long prompts": (steady(20, prompt_tokens=130), "invalid", "prompt_tokens"),
    "cache unasked": (steady(20, cached_tokens=10), "degraded", "cached_share"),
    "cache all unasked": (steady(20, cached_tokens=100), "invalid", "cached_share"),
    "cache asked": (steady(20, cached_tokens=50, cached_asked=50), "valid", None),
    "model changed": ((*steady(20), ok(99, 60, model="gpt-4.1-2026-01-01")), "degraded", "model_changed"),
    "no answer": ([failed(i, 20 + i, "refused", sent=None) for i in range(9)], "invalid", "no_answer"),
    "nothing due": ((), "invalid", "no_answer"),
    "lost worker": ((*steady(20), end(ended="lost", lost_workers=(1,))), "invalid", "lost_worker"),
    "lost disk": ((*steady(20), end(ended="lost", problems=("disk full",))), "invalid", "lost"),
    "the service refuses and fails": (
        (*[throttled(i, 20 + i) for i in range(30)], *[failed(50 + i, 30, "http_500", status=500) for i in range(9)]),
        "valid",
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_its_table(case, tmp_path):
    lines, verdict, code = CASES[case]

    validity = summary(tmp_path, *lines)["validity"]

    assert validity["verdict"] == verdict
    assert [reason["code"] for reason in validity["reasons"]] == ([code] if code else [])


def test_seconds_outside_the_window_do_not_judge(tmp_path):
    outside = [tick(t, cpu=0.99, loop_lag={histogram.bucket(0.3): 100}) for t in (0, 9, 70, 71)]

    validity = summary(tmp_path, *steady(100), *outside, tick(30, cpu=0.25))["validity"]

    assert (validity["verdict"], validity["cpu_share"], validity["loop_lag"]["p99"]) == ("valid", 0.25, None)


def test_the_busiest_worker_judges_and_not_the_mean_of_all(tmp_path):
    ticks = [tick(t, worker=worker, cpu=cpu) for t in range(10, 70) for worker, cpu in enumerate((0.9, 0.1))]

    validity = summary(tmp_path, *steady(100), *ticks, workers=2)["validity"]

    assert validity["cpu_share"] == pytest.approx(0.9)
    assert validity["workers"] == 2
    assert validity["reasons"][0]["level"] == "degraded"


def test_a_killed_run_is_invalid_since_the_slow_ones_are_missing(tmp_path):
    validity = summarize(write(tmp_path / "run.jsonl", head(), *steady(200)))["validity"]

    assert validity["verdict"] == "invalid"
    assert [reason["code"] for reason in validity["reasons"]] == ["killed"]


def test_a_reason_says_what_was_seen_what_it_means_and_what_to_try(tmp_path):
    reasons = summary(tmp_path, *steady(90), *[dropped(200 + i, 30) for i in range(10)])["validity"]["reasons"]

    assert reasons == [
        {
            "code": "dropped",
            "level": "invalid",
            "text": "10 of 100 requests were never sent because `max_in_flight` was reached: it limits the load, "
            "which was lower than asked; raise `max_in_flight` or lower the rate",
        }
    ]


def test_several_reasons_are_all_named_and_the_worst_decides(tmp_path):
    validity = summary(tmp_path, *steady(50), dropped(200, 30), *[cut(300 + i, 31) for i in range(10)])["validity"]

    assert validity["verdict"] == "invalid"
    assert [(reason["code"], reason["level"]) for reason in validity["reasons"]] == [
        ("dropped", "degraded"),
        ("cut", "invalid"),
    ]


WAITING = [ok(300 + i, 30 + i / 10, connect_s=0.2, sent=30 + i / 10 + 0.2) for i in range(10)]
HELD = [ok(300 + i, 30 + i / 10, sent=30 + i / 10 + 0.02) for i in range(10)]
NO_SOCKET = [failed(300, 30, "no_socket", sent=None)]
LIMITS = {
    "the client's processor": (
        {},
        (*steady(90), *late(10, 0.02), *busy(0.7)),
        ["lag"],
        "what limits the load is the client; use more `--workers`, fewer streams at once, or a lower rate",
    ),
    "as many workers as cores": (
        {"workers": 4},
        (*steady(90), *busy(0.9)),
        ["cpu"],
        "what limits the load is the client; use a machine with more than 4 cores, fewer streams at once, or a lower rate",
    ),
    "the machine": (
        {},
        (*steady(90), *slow_loop(0.02)),
        ["loop_lag"],
        (
            "the busiest worker used no more than 25.0 % of a core, so what limits the load is the machine, busy with something "
            "else; use a quieter or a larger one"
        ),
    ),
    "httpx": (
        {"client": "httpx"},
        (*steady(90), *busy(0.9)),
        ["cpu"],
        "what limits the load is `client: httpx`; use `client: timed`, more `--workers`, or fewer streams at once",
    ),
    "the connections of httpx": (
        {"client": "httpx"},
        (*steady(90), *HELD),
        ["held"],
        (
            "calls waited 20.0 ms (p99) inside the client until a connection took them: what limits the load is the connections "
            "of `client: httpx`; use `client: timed`, more `--workers`, or fewer streams at once"
        ),
    ),
    "connections that were opened": ({"client": "httpx"}, (*steady(90), *WAITING), [], ""),
    "an SDK": (
        {"client": "mine:ask"},
        (*steady(90), *slow_loop(0.02, cpu=0.96)),
        ["loop_lag", "cpu"],
        (
            "the busiest worker used 96.0 % of a core: what limits the load is `client: mine:ask`; use `client: timed`, more "
            "`--workers`, or fewer streams at once"
        ),
    ),
    "a function that blocks": (
        {"client": "mine:ask"},
        (*steady(90), *slow_loop(0.02)),
        ["loop_lag"],
        (
            "busy with something else, or `mine:ask` keeps its event loop waiting (a call without await); use a quieter or a "
            "larger one"
        ),
    ),
    "sockets": (
        {},
        (*steady(90), *NO_SOCKET),
        ["no_socket"],
        (
            "1 of 91 calls failed because this machine had no file or port left for another connection: it limits the load; "
            "raise its limit (`ulimit -n`), or use fewer streams at once"
        ),
    ),
}


@pytest.mark.parametrize("what", LIMITS)
def test_the_verdict_names_what_limits_the_load_and_the_way_out(what, tmp_path):
    changes, lines, codes, said = LIMITS[what]

    reasons = summary(tmp_path, *lines, machine={"cores": 4}, **changes)["validity"]["reasons"]

    assert [reason["code"] for reason in reasons] == codes
    assert said in (reasons[-1]["text"] if reasons else "")


NOTES = {
    "limit_equals_length": (steady(20, limit=20, finish="length"), {}),
    "prompt_tokens": (steady(20, prompt_tokens=103), {}),
    "cached_unknown": (steady(20, cached_tokens=None, cached_asked=50), {}),
    "own_client": (steady(20), {"client": "mine:ask"}),
    "httpx_client": (steady(20), {"client": "httpx", "probe": {"http": "HTTP/2"}}),
    "unknown_tokens": ((*steady(20), failed(50, 30)), {}),
    "warning": (steady(20), {"warnings": ("the probe was throttled",)}),
    "problem": ((*steady(20), end(problems=("worker 1 was slow to end",))), {}),
    "stopped": ((*steady(200), end(ended="stopped", load_end=40.0)), {}),
}


@pytest.mark.parametrize("code", NOTES)
def test_what_one_should_know_is_a_note_and_no_verdict(code, tmp_path):
    lines, changes = NOTES[code]

    roomy = {"kind": "azure", "model": "gpt-4.1", "ptu": 1000}

    result = summary(tmp_path, *lines, target=roomy, **changes)

    assert [note["code"] for note in result["notes"]] == [code]
    assert result["validity"]["verdict"] == "valid"
