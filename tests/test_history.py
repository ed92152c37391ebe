"""Usage history out of Azure Monitor: days that are asked for once, continued, kept; on a server of our own."""

import time
from datetime import UTC, datetime

import msgspec
import pytest

from azure_server import (
    ACCOUNT,
    CACHE_MATCH,
    FORBIDDEN,
    NAME,
    REQUESTS,
    Clock,
    FakeCredential,
    azure_server,
    throttled,
)
from ptubench.azure import arm, history, rest
from ptubench.errors import TargetRefused, UsageError
from ptubench.ptu.capacity import capacity
from ptubench.size.asked import SizeOptions, ask
from ptubench.usage.need import answer

DAY = 86_400
NOW = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC).timestamp()
TODAY = int(NOW) // DAY * DAY
END = TODAY + (12 * 60 + 24) * 60
"""Ten minutes ago, on the minute."""
PROMPT, GENERATED, ACTIVE = "ProcessedPromptTokens", "GeneratedTokens", "ActiveTokens"
CALLS = 3
"""A day's."""


@pytest.fixture
def azure():
    with azure_server() as server:
        yield server


@pytest.fixture
def fetch(azure, tmp_path):
    """Fetch from it, with a cache of its own; `said` and `clock` are of the last fetch."""

    def call(last="2d", *, now=NOW, name=NAME, clock=None, credential=None, cache=None):
        call.clock, call.said = clock or Clock(), []
        return history.fetch(
            rest.Deployment(by=azure.access(call.clock, credential), resource=ACCOUNT, name=name),
            last=float(last[:-1]) * {"d": DAY, "h": 3600, "m": 60}[last[-1]],
            now=now,
            cache=cache or tmp_path / "cache",
            say=call.said.append,
        )

    return call


def busy(azure, minutes, *, requests=10.0, prompt=1000.0, completion=100.0, active=None, rate=None):
    """Let Azure count so much in each of these minutes."""
    azure.requests[("200", "False")] = dict.fromkeys(minutes, requests)
    azure.sums |= {PROMPT: dict.fromkeys(minutes, prompt), GENERATED: dict.fromkeys(minutes, completion)}
    if active is not None:
        azure.sums[ACTIVE] = dict.fromkeys(minutes, active)
    if rate is not None:
        azure.levels[CACHE_MATCH] = dict.fromkeys(minutes, rate)


def spans(azure):
    """What was asked for, in hours from today's midnight, each span once."""
    asked = dict.fromkeys(one.query["timespan"] for one in azure.asked if "timespan" in one.query)
    return [
        tuple((datetime.fromisoformat(edge).timestamp() - TODAY) / 3600 for edge in span.split("/")) for span in asked
    ]


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*.*"))


# --- what is asked for


def test_a_call_asks_for_one_utc_day_and_today_up_to_ten_minutes_ago(azure, fetch):
    busy(azure, [TODAY])
    usage = fetch("2d")

    assert spans(azure) == [(-48, -24), (-24, 0), (0, 12.4)]
    assert len(azure.asked) == 3 * CALLS
    assert usage.span == (END - 2 * DAY, END)
    assert {one.query["$filter"].split(" and ")[0] for one in azure.asked} == {f"ModelDeploymentName eq '{NAME}'"}


def test_minutes_younger_than_ten_are_left_out(azure, fetch):
    busy(azure, [END - 60, END, END + 60])

    assert fetch().minute.tolist() == [END - 60]


def test_minutes_before_the_span_are_left_out(azure, fetch):
    busy(azure, [END - 2 * DAY - 60, END - 2 * DAY])

    assert fetch("2d").minute.tolist() == [END - 2 * DAY]


def test_nothing_is_asked_that_azure_no_longer_keeps(azure, fetch, tmp_path):
    busy(azure, [TODAY])
    azure.kept_from = int(NOW) - 93 * DAY
    empty = {"id": ACCOUNT, "deployment": NAME, "asked_unix": NOW, "series": ()}
    of = rest.Deployment(by=azure.access(), resource=ACCOUNT, name=NAME)
    folder = tmp_path / "cache" / "usage" / history._name(of)
    for back in range(1, 93):
        start = TODAY - back * DAY
        history._keep(folder, history._Day(span=(start, start + DAY), **empty))
    fetch("93d")

    kept_from = (34 + 2) / 60 + 12 - 93 * 24
    assert spans(azure) == [(kept_from, -92 * 24), (0, 12.4)]


@pytest.mark.parametrize(("last", "said"), [("94d", "94d"), ("30m", "30m"), ("0.5h", "30m")])
def test_a_history_that_there_can_not_be_is_refused(fetch, azure, last, said):
    with pytest.raises(UsageError) as raised:
        fetch(last)

    assert str(raised.value) == (f"--last: Azure Monitor keeps 93 days; write a duration from 1h to 93d, not {said}")
    assert azure.asked == []


# --- what is read


def test_the_metrics_become_columns(azure, fetch):
    busy(azure, [TODAY, TODAY + 120], active=700.0)
    azure.requests[("429", "False")] = {TODAY: 4.0, TODAY + 60: 3.0}
    azure.requests[("500", "False")] = {TODAY: 9.0}
    usage = fetch()

    assert usage.minute.tolist() == [TODAY, TODAY + 120]
    assert [c.tolist()[0] for c in (usage.requests, usage.prompt, usage.cached, usage.completion)] == [
        10,
        1000,
        1000 + 100 - 700,
        100,
    ]
    assert usage.throttled == 7
    assert usage.notes == ("7 requests were answered 429: what they asked for is not counted, and the need is higher",)
    assert usage.source == "Azure Monitor, deployment chat-ptu of contoso"


def test_without_active_tokens_the_match_rate_tells_what_was_cached(azure, fetch):
    busy(azure, [TODAY], rate=25.0)
    usage = fetch()

    assert (usage.cached.tolist(), usage.notes) == ([250], ())


def test_what_nobody_tells_of_cached_tokens_is_said(azure, fetch):
    busy(azure, [TODAY])
    usage = fetch()

    assert usage.cached.tolist() == [0]
    assert usage.notes == (
        "Azure tells cached tokens of PTU deployments only: none are assumed, and the need may be lower",
    )


def test_cached_tokens_are_never_less_than_none_nor_more_than_the_prompt(azure, fetch):
    busy(azure, [TODAY, TODAY + 60])
    azure.sums[ACTIVE] = {TODAY: 5000.0, TODAY + 60: 0.0}

    assert fetch().cached.tolist() == [0, 1000]


def test_requests_whose_tokens_are_missing_are_said(azure, fetch):
    busy(azure, [TODAY], rate=0.0)
    azure.requests[("200", "False")][TODAY + 60] = 5.0

    assert fetch().notes == ("in 1 minute Azure counts requests but no tokens",)


def test_an_account_without_status_codes_tells_no_429s(azure, fetch):
    busy(azure, [TODAY], rate=0.0)
    azure.unsplit = {"statuscode"}
    usage = fetch()

    assert (usage.requests.tolist(), usage.throttled, usage.notes) == ([10], 0, ())


def test_status_codes_in_other_words_are_all_counted(azure, fetch):
    busy(azure, [TODAY], rate=0.0)
    azure.requests = {("Success", "False"): {TODAY: 8.0}}

    assert fetch().requests.tolist() == [8]


def test_where_everything_was_refused_nothing_was_answered(azure, fetch):
    azure.requests = {("429", "False"): {TODAY: 8.0}, ("401", "False"): {TODAY: 1.0}}
    with pytest.raises(UsageError) as raised:
        fetch()

    assert "tells of no answered request of chat-ptu" in str(raised.value)


@pytest.mark.parametrize("value", [-1.0, 1e300])
def test_a_figure_that_can_be_none_is_refused(azure, fetch, value):
    busy(azure, [TODAY], prompt=value)
    with pytest.raises(TargetRefused) as raised:
        fetch()

    assert str(raised.value) == (
        f"--from-monitor: ProcessedPromptTokens: {value} is no figure of a minute; check HTTPS_PROXY"
    )


def test_a_history_is_enough_for_an_answer(azure, fetch):
    busy(azure, [TODAY, TODAY + 60], prompt=600_000.0, completion=0.0)
    told = answer(fetch(), capacity("gpt-4.1", 1), [100, 200])

    assert (told["need"]["max"], told["with_traffic"], told["minutes"]) == (200, 2, 2 * 1440)


# --- what is kept


def test_a_day_that_is_over_is_asked_for_once(azure, fetch, tmp_path):
    busy(azure, [TODAY - 60, TODAY])
    first = fetch()
    azure.asked.clear()
    second = fetch()

    assert kept(tmp_path) == ["2026-11-20.json", "2026-11-21.json"]
    assert spans(azure) == [(0, 12.4)]
    assert second.minute.tolist() == first.minute.tolist() == [TODAY - 60, TODAY]
    assert fetch.said[0].startswith("Azure Monitor: 3 days of chat-ptu, 1 to ask for; 2 are in ")


def test_a_day_is_not_kept_before_it_was_over_for_ten_minutes(azure, fetch, tmp_path):
    busy(azure, [TODAY - 120])
    fetch("1d", now=TODAY + 599.0)

    assert kept(tmp_path) == ["2026-11-20.json"]


def test_what_azure_tells_late_is_there_the_next_time(azure, fetch):
    busy(azure, [TODAY - 60])
    fetch()
    busy(azure, [TODAY - 60, TODAY + 60])

    assert fetch().minute.tolist() == [TODAY - 60, TODAY + 60]


def test_an_interrupted_fetch_continues(azure, fetch, tmp_path):
    class Interrupted(FakeCredential):
        def get_token(self, *scopes):
            if len(self.scopes) == 2 * CALLS + 1:
                raise KeyboardInterrupt
            return super().get_token(*scopes)

    busy(azure, [TODAY - 60])
    with pytest.raises(KeyboardInterrupt):
        fetch("4d", credential=Interrupted())
    azure.asked.clear()
    usage = fetch("4d")

    assert spans(azure) == [(-48, -24), (-24, 0), (0, 12.4)]
    assert usage.minute.tolist() == [TODAY - 60]


@pytest.mark.parametrize("text", [b"", b'{"schema": 1, "id": "', b"[]", b'{"schema":2}', b"\xff\xfe", b"[" * 100_000])
def test_a_broken_file_is_asked_for_again(azure, fetch, tmp_path, text):
    busy(azure, [TODAY - 60])
    fetch()
    path = next((tmp_path / "cache").rglob("2026-11-21.json"))
    path.write_bytes(text)
    azure.asked.clear()

    assert fetch().minute.tolist() == [TODAY - 60]
    assert spans(azure) == [(-24, 0), (0, 12.4)]
    assert msgspec.json.decode(path.read_bytes())["deployment"] == NAME


def test_another_deployments_days_are_not_taken_for_ones_own(azure, fetch):
    busy(azure, [TODAY - 60])
    fetch()
    azure.deployment["name"] = "other"
    azure.asked.clear()
    fetch(name="other")

    assert len(spans(azure)) == 3


def test_no_token_is_kept(azure, fetch, tmp_path):
    busy(azure, [TODAY - 60])
    fetch()

    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    assert [raw for raw in kept if b"fake-management-token" in raw] == []


def test_a_cache_that_can_not_be_written_is_one_sentence(azure, fetch, tmp_path):
    (tmp_path / "file").touch()
    busy(azure, [TODAY - 60])
    with pytest.raises(UsageError) as raised:
        fetch(cache=tmp_path / "file")

    assert "the history can't be kept there: Not a directory; set XDG_CACHE_HOME to a folder of yours" in str(
        raised.value
    )


def test_a_metric_that_the_account_lacks_is_no_reason_to_ask_again(azure, fetch):
    busy(azure, [TODAY - 60])
    azure.missing = {ACTIVE}
    fetch()
    azure.asked.clear()
    fetch()

    assert spans(azure) == [(0, 12.4)]


def test_a_metric_that_fails_now_is_asked_for_the_next_time(azure, fetch):
    busy(azure, [TODAY - 60], active=700.0)
    azure.failing = {ACTIVE: ("InternalError", "try again")}
    assert fetch().cached.tolist() == [0]
    azure.failing = {}

    assert fetch().cached.tolist() == [400]


@pytest.mark.parametrize(
    ("env", "folder"), [({"XDG_CACHE_HOME": "/caches"}, "/caches/ptubench"), ({}, "/users/me/.cache/ptubench")]
)
def test_the_cache_is_the_users(monkeypatch, env, folder):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", "/users/me")

    assert str(history.cache_folder(env)) == folder


# --- what goes wrong


def test_a_throttled_question_waits_as_long_as_it_is_told(azure, fetch):
    busy(azure, [TODAY - 60])
    azure.script = [None, throttled(17)]
    fetch()

    assert fetch.clock.slept == [17]
    assert "Azure Monitor: asks to come again in 17s" in fetch.said


def test_a_fetch_that_is_throttled_too_long_keeps_what_it_has(azure, fetch):
    busy(azure, [TODAY - 60])
    azure.script = [None] * CALLS + [throttled(3000)]
    with pytest.raises(TargetRefused) as raised:
        fetch()
    said = str(raised.value)
    azure.asked.clear()

    assert said.endswith("ask again later; 1 of 3 days are kept, and the same command continues")
    assert "answered 429 (TooManyRequests: The request is being throttled.)" in said
    assert fetch().minute.tolist() == [TODAY - 60]
    assert spans(azure) == [(-24, 0), (0, 12.4)]


def test_who_may_not_ask_learns_which_role(azure, fetch):
    azure.script = [FORBIDDEN]
    with pytest.raises(TargetRefused) as raised:
        fetch()

    assert str(raised.value).endswith(
        "give your identity the role Monitoring Reader on the resource; a new role takes some minutes to hold"
    )
    assert len(azure.asked) == 1


def test_a_deployment_that_is_not_there_is_told_from_one_without_traffic(azure, fetch):
    with pytest.raises(UsageError) as idle:
        fetch()
    with pytest.raises(TargetRefused) as wrong:
        fetch(name="nobody")

    assert str(idle.value) == (
        "--from-monitor: Azure Monitor tells of no answered request of chat-ptu in the last 2d; "
        "ask for a longer --last, or check --deployment"
    )
    assert str(wrong.value).startswith("--from-monitor: Azure Monitor tells of no answered request of nobody: ")
    assert "answered 404 (DeploymentNotFound" in str(wrong.value)


@pytest.mark.parametrize("metric", [PROMPT, GENERATED, REQUESTS])
def test_without_a_metric_that_is_needed_there_is_no_history(azure, fetch, metric):
    busy(azure, [TODAY])
    azure.failing = {metric: ("InternalError", "try again")}
    with pytest.raises(TargetRefused) as raised:
        fetch()

    assert str(raised.value) == f"--from-monitor: {metric}: Azure Monitor says InternalError: try again"


def test_a_resource_id_that_is_none_names_the_option():
    with pytest.raises(UsageError) as raised:
        arm.check_id("contoso", option="--from-monitor")

    assert str(raised.value).startswith("--from-monitor: `contoso` is not the resource ID of an account")


def test_a_long_fetch_tells_how_far_it_is(azure, fetch):
    class Slow(Clock):
        def time(self):
            self.now += 1.0
            return self.now

    busy(azure, [TODAY - 60])
    fetch("6d", clock=Slow())

    assert [line for line in fetch.said if "of 7 days" in line] != []


def test_what_azure_no_longer_keeps_is_said(azure, fetch):
    azure.kept_from = TODAY
    with pytest.raises(TargetRefused) as raised:
        fetch()

    assert "Query startTime is out of the Max metrics retention period" in str(raised.value)


def test_size_asks_azure_for_the_history_and_the_model(azure, tmp_path):
    at = int(time.time()) // 60 * 60 - 3600
    busy(azure, [at, at + 60], prompt=600_000.0, completion=0.0)
    options = SizeOptions(from_monitor=ACCOUNT, deployment=NAME, last="2h")
    said = []
    asked = ask(options, {"XDG_CACHE_HOME": str(tmp_path)}, say=said.append, azure=azure.access())

    assert asked.model == "gpt-4.1"
    assert asked.load.usage.minute.tolist() == [at, at + 60]
    assert any(str(tmp_path / "ptubench") in line for line in said)


def test_a_fetched_history_is_kept_and_sized_again_the_same(azure, tmp_path):
    at = int(time.time()) // 60 * 60 - 3600
    busy(azure, [at, at + 60], prompt=600_000.0, completion=60_000.0)
    kept, said = tmp_path / "kept.csv", []
    fetching = SizeOptions(from_monitor=ACCOUNT, deployment=NAME, last="2h", save_usage=kept)
    fetched = ask(fetching, {"XDG_CACHE_HOME": str(tmp_path)}, say=said.append, azure=azure.access()).load
    again = ask(SizeOptions(usage=kept, model="gpt-4.1"), {}, say=said.append).load

    assert said[-1].startswith(f"the history is in {kept}: size it again with --usage")
    assert again.usage.span == fetched.usage.span
    assert again.demand.prompt.tolist() == fetched.demand.prompt.tolist()
    assert again.demand.completion.tolist() == fetched.demand.completion.tolist()
