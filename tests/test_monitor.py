"""Azure beside a run: what goes into the file, ours beside Azure's, and the whole command against servers of our own."""

import dataclasses
import gzip
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from azure_server import (
    ACCOUNT,
    CACHE_MATCH,
    FORBIDDEN,
    NAME,
    REQUESTS,
    TIME_TO_RESPONSE,
    UTILIZATION,
    Clock,
    Refusal,
    azure_server,
)
from ptubench import azure_run, commands
from ptubench.analysis import azure as said
from ptubench.analysis import monitoring
from ptubench.analysis.gather import load
from ptubench.analysis.summary import summarize
from ptubench.azure import monitor
from ptubench.azure_run import AzureOptions
from ptubench.cli import report as report_command
from ptubench.cli import run as run_command
from ptubench.cli.pipelines import Places
from ptubench.engine.run import to_the_minute
from ptubench.errors import Exit, TargetRefused, UsageError
from ptubench.record import Monitor, Resource, Series, encode
from ptubench.results import store
from ptubench.target.model import TargetOptions
from servers import healthy_server

START = int(runs.STARTED.timestamp())
TARGET = {
    "kind": "azure",
    "model": "gpt-4.1",
    "ptu": 50,
    "deployment": NAME,
    "endpoint": "https://contoso.openai.azure.com",
}
WINDOW = {"window": (0.0, 120.0), "duration": 120, "warmup": 0, "target": TARGET}
END = runs.end(load_end=120.0, finished=122.0)


def each(value, minutes=2, first=START):
    return {first + 60 * k: float(value) for k in range(minutes)}


def monitored(*series, of="run", asked=START + 200, **changes):
    """What Azure Monitor said."""
    span = (START, START + 180)
    return Monitor(of=of, asked_unix=asked, id=ACCOUNT, deployment=NAME, span=span, series=series, **changes)


def requests(by_status, *, spilled="False"):
    """Counts of requests by status, as Azure splits them."""
    return [
        Series(metric=REQUESTS, dimensions={"statuscode": status, "isspillover": spilled}, total=values)
        for status, values in by_status.items()
    ]


def resource(when, **changes):
    """What Azure Resource Manager said."""
    said = {
        "sku": "GlobalProvisionedManaged",
        "capacity": 50,
        "model": "gpt-4.1",
        "version": "2025-04-14",
        "content_filter": "Microsoft.DefaultV2",
    }
    return Resource(**{"when": when, "asked_unix": START, "id": ACCOUNT, "deployment": NAME} | said | changes)


def summary(folder, *lines, **of_head):
    """A run of two full minutes; what Azure said stands behind its end."""
    before = [line for line in lines if not isinstance(line, Resource | Monitor)]
    after = [line for line in lines if isinstance(line, Resource | Monitor)]
    path = runs.write(folder / "run.jsonl", runs.head(**WINDOW | of_head), *before, END, *after)
    return summarize(path)


def rows(found):
    return {row["name"]: row for row in found["monitor"]["rows"]}


def steady(count=240, **changes):
    """Calls all through both minutes: 100 prompt tokens, 20 completion tokens each; none touches an edge."""
    return runs.steady(count, start=0.1, step=118.0 / count, e2e=0.5, **changes)


# --- ours beside Azure's


def test_nobody_asked_is_null(tmp_path):
    found = summary(tmp_path, *steady())

    assert found["monitor"] is None
    assert found["metrics"]["utilization"]["monitor"] is None


def test_each_figure_of_ours_stands_beside_azures(tmp_path):
    azure = monitored(
        Series(metric=UTILIZATION, average=each(14.0), maximum=each(20.0)),
        Series(metric=CACHE_MATCH, average=each(0.0)),
        Series(metric=TIME_TO_RESPONSE, average={START: 90.0, START + 60: 120.0}),
        Series(metric="ProcessedPromptTokens", total=each(12_000)),
        Series(metric="GeneratedTokens", total=each(2_400)),
        Series(metric="ActiveTokens", total=each(18_000)),
        *requests({"200": {START: 180.0, START + 60: 60.0}}),
    )
    found = rows(summary(tmp_path, *steady(), azure))
    shown = {name: (row["ours"], row["azure"], row["word"]) for name, row in found.items()}

    assert shown["requests"] == (240, 240.0, "agrees")
    assert shown["throttled"] == (0, 0.0, "agrees")
    assert shown["prompt_tokens"] == (24_000.0, 24_000.0, "agrees")
    assert shown["completion_tokens"] == (pytest.approx(4800), 4800.0, "agrees")
    assert shown["active_tokens"] == (pytest.approx(28_800), 36_000.0, "differs")
    assert shown["cached_share"] == (0.0, 0.0, "agrees")
    assert shown["utilization"] == (pytest.approx(21_600 / 150_000), 0.14, "agrees")
    assert shown["time_to_response"] == (pytest.approx(0.1), pytest.approx(0.0975), "differs")
    assert found["active_tokens"]["difference"] == pytest.approx(0.25)
    assert found["utilization"]["difference"] == pytest.approx(0.14 - 0.144)
    assert "spilled" not in found


def test_only_full_minutes_of_the_window_are_compared(tmp_path):
    azure = monitored(*requests({"200": each(1000, minutes=3)}))
    found = summary(tmp_path, *steady(), azure, window=(10.0, 130.0), duration=130, warmup=10)["monitor"]

    assert (found["minutes"], found["span_s"]) == (1, [60.0, 120.0])


def test_a_window_on_a_full_minute_is_full_whatever_a_float_can_hold(tmp_path):
    for shift in (1e-7, -1e-7, 2e-7):
        azure = monitored(*requests({"200": each(120)}))
        found = summary(tmp_path, *steady(), azure, started_unix=START + shift)["monitor"]

        assert found["minutes"] == 2


def test_a_window_without_a_full_minute_compares_nothing(tmp_path):
    found = summary(tmp_path, *steady(), monitored(), window=(10.0, 70.0), duration=70, warmup=10)["monitor"]

    assert (found["minutes"], found["rows"], found["span_s"]) == (0, [], None)


def test_a_minute_that_azure_does_not_tell_of_yet_leaves_no_figure(tmp_path):
    azure = monitored(*requests({"200": {START: 120.0}}), Series(metric=UTILIZATION, average={START: 14.0}))
    found = summary(tmp_path, *steady(), azure)

    assert (rows(found)["requests"]["azure"], rows(found)["requests"]["word"]) == (None, None)
    assert rows(found)["utilization"]["azure"] is None
    assert (found["monitor"]["missing"], found["monitor"]["settled"]) == (1, False)
    assert found["metrics"]["utilization"]["monitor"] == {"mean": None, "peak_minute": 0.14, "before": None}


def test_a_minute_in_which_we_sent_nothing_needs_no_figure(tmp_path):
    azure = monitored(*requests({"200": {START: 120.0}}))
    found = summary(tmp_path, *runs.steady(120, start=0.1, step=0.4, e2e=0.5), azure)

    assert rows(found)["requests"]["word"] == "agrees"


@given(
    ends=st.lists(st.tuples(st.floats(0, 119), st.floats(0.01, 30)), min_size=1, max_size=40),
    where=st.sampled_from(["begin", "end", "mixed"]),
)
def test_requests_agree_whichever_minute_azure_counts_a_call_in(tmp_path_factory, ends, where):
    counted = dict.fromkeys((START - 60, *each(0, minutes=4)), 0.0)
    attempts = []
    for index, (sent, takes) in enumerate(ends):
        attempts.append(runs.ok(index, sent, ttft=takes / 2, e2e=takes))
        at = sent if where == "begin" or (where == "mixed" and index % 2) else sent + takes
        counted[START + int(at // 60) * 60] += 1
    found = summary(tmp_path_factory.mktemp("law"), *attempts, monitored(*requests({"200": counted})))

    assert rows(found)["requests"]["word"] == "agrees"
    assert found["validity"]["verdict"] != "invalid"
    assert "foreign_traffic" not in {reason["code"] for reason in found["validity"]["reasons"]}


def test_foreign_traffic_is_named_and_degrades_the_verdict(tmp_path):
    found = summary(tmp_path, *steady(), monitored(*requests({"200": each(150)})))
    (reason,) = found["validity"]["reasons"]

    assert (rows(found)["requests"]["word"], rows(found)["requests"]["difference"]) == ("foreign traffic", 0.25)
    assert (found["validity"]["verdict"], reason["code"]) == ("degraded", "foreign_traffic")
    assert reason["text"] == (
        "Azure counted 300 requests, we sent 240: others used the deployment, and a part of what was measured is theirs; "
        "run again when nobody else does"
    )


def test_up_to_two_percent_more_is_no_foreign_traffic(tmp_path):
    found = summary(tmp_path, *steady(), monitored(*requests({"200": each(122)})))

    assert rows(found)["requests"]["word"] == "agrees"
    assert found["validity"]["verdict"] == "valid"


def test_fewer_requests_than_we_sent_differ_and_are_no_verdict(tmp_path):
    found = summary(tmp_path, *steady(), monitored(*requests({"200": each(100)})))

    assert rows(found)["requests"]["word"] == "differs"
    assert found["validity"]["verdict"] == "valid"


def test_429s_are_compared_apart(tmp_path):
    refused = [runs.throttled(1000 + k, 1.0 + k) for k in range(30)]
    azure = monitored(*requests({"200": each(120), "429": {START: 30.0, START + 60: 0.0}}))
    found = rows(summary(tmp_path, *steady(), *refused, azure))

    assert (found["throttled"]["ours"], found["throttled"]["azure"], found["throttled"]["word"]) == (30, 30.0, "agrees")
    assert found["requests"]["word"] == "agrees"


def test_without_a_split_by_status_there_is_no_figure_of_429s(tmp_path):
    azure = monitored(Series(metric=REQUESTS, total=each(120)))
    found = rows(summary(tmp_path, *steady(), azure))

    assert (found["throttled"]["azure"], found["requests"]["azure"]) == (None, 240.0)


def test_what_was_diverted_was_not_sent_here(tmp_path):
    elsewhere = [runs.ok(1000 + k, 2.0 + k, attempt=1, diverted=True) for k in range(30)]
    found = rows(summary(tmp_path, *steady(), *elsewhere, monitored(*requests({"200": each(120)}))))

    assert (found["requests"]["ours"], found["requests"]["word"]) == (240, "agrees")


@pytest.mark.parametrize("counted_here", [True, False])
def test_spilled_calls_agree_whether_azure_counts_them_here_or_there(tmp_path, counted_here):
    headers = {"x-ms-spillover-from-deployment": NAME}
    spilled = [runs.ok(1000 + k, 2.0 + k, headers=headers) for k in range(30)]
    more = requests({"200": {START: 30.0, START + 60: 0.0}}, spilled="True") if counted_here else []
    found = rows(summary(tmp_path, *steady(), *spilled, monitored(*requests({"200": each(120)}), *more)))

    assert (found["requests"]["ours"], found["requests"]["word"]) == (270, "agrees")
    assert (found["spilled"]["ours"], found["spilled"]["azure"]) == (30, 30.0 if counted_here else 0.0)


def test_answers_without_usage_leave_our_tokens_without_an_upper_bound(tmp_path):
    unknown = [runs.ok(1000 + k, 2.0 + k, prompt_tokens=None, completion_tokens=None) for k in range(30)]
    azure = monitored(Series(metric="ProcessedPromptTokens", total=each(13_500)))
    found = rows(summary(tmp_path, *steady(), *unknown, azure))

    assert (found["prompt_tokens"]["ours"], found["prompt_tokens"]["word"]) == (24_000.0, "agrees")


def test_utilization_by_azure_is_a_metric_with_the_minutes_before(tmp_path):
    before = monitored(Series(metric=UTILIZATION, average=each(30.0, minutes=5, first=START - 300)), of="before")
    azure = monitored(Series(metric=UTILIZATION, average={START: 60.0, START + 60: 80.0, START + 120: 99.0}))
    found = summary(tmp_path, *steady(), before, azure)

    assert found["metrics"]["utilization"]["monitor"] == {"mean": pytest.approx(0.7), "peak_minute": 0.8, "before": 0.3}
    assert "busy_before" in {note["code"] for note in found["notes"]}


def test_the_last_answer_counts(tmp_path):
    early, late = monitored(*requests({"200": each(10)})), monitored(*requests({"200": each(120)}), asked=START + 4000)
    found = summary(tmp_path, *steady(), early, late)

    assert (rows(found)["requests"]["azure"], found["monitor"]["settled"]) == (240.0, True)


# --- what the deployment is, before and after


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"capacity": 100}, "resized", "capacity 50 before the load, 100 after it"),
        ({"version": "2026-01-01"}, "resource_changed", "version 2025-04-14 before the load, 2026-01-01 after it"),
        (
            {"content_filter": None},
            "resource_changed",
            "content filter Microsoft.DefaultV2 before the load, None after it",
        ),
    ],
)
def test_a_change_in_mid_run_degrades_the_verdict(tmp_path, changed, code, said):
    found = summary(tmp_path, *steady(), resource("before"), resource("after", **changed))
    (reason,) = found["validity"]["reasons"]

    assert (found["validity"]["verdict"], reason["code"]) == ("degraded", code)
    assert reason["text"] == f"the deployment was changed during the run ({said}): the numbers mix both; run again"


def test_a_deployment_that_stayed_what_it_was_is_no_reason(tmp_path):
    found = summary(tmp_path, *steady(), resource("before"), resource("after"))

    assert found["validity"]["verdict"] == "valid"


def test_a_look_up_that_failed_afterwards_is_a_note(tmp_path):
    nothing = dict.fromkeys(("sku", "capacity", "model", "version", "content_filter"))
    found = summary(tmp_path, *steady(), resource("before"), resource("after", error="why not", **nothing))

    assert found["validity"]["verdict"] == "valid"
    assert {"code": "resource_unknown", "text": "why not"} in found["notes"]


@pytest.mark.parametrize(("host", "noted"), [("contoso", False), ("fabrikam", True)])
def test_an_endpoint_of_another_account_is_a_note(tmp_path, host, noted):
    target = TARGET | {"resource": ACCOUNT, "endpoint": f"https://{host}.openai.azure.com"}
    found = summary(tmp_path, *steady(), target=target)

    assert ("other_account" in {note["code"] for note in found["notes"]}) == noted


# --- lines after the end


def stored(folder, *, ending=".jsonl"):
    path = folder / f"run{ending}"
    content = b"".join(map(encode, (runs.head(**WINDOW), *steady(), END)))
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lines_are_added_and_no_byte_of_the_file_changes(tmp_path, ending):
    path = stored(tmp_path, ending=ending)
    before = path.read_bytes()
    store.append(path, resource("after"))
    store.append(path, monitored())

    assert path.read_bytes().startswith(before)
    assert [type(line) for line in store.lines(path)][-3:] == [type(END), Resource, Monitor]
    assert summarize(path)["run"]["ended"] == "completed"


def test_a_torn_last_line_stays_torn(tmp_path):
    path = stored(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    store.append(path, monitored())
    run = load(path)

    assert (len(run.azure), run.end, run.broken) == (1, None, [len(steady()) + 2])


def test_nothing_can_follow_a_compressed_file_that_was_cut(tmp_path):
    path = stored(tmp_path, ending=".jsonl.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError) as raised:
        store.append(path, monitored())

    assert str(raised.value) == (
        f"{path}: the compressed file was cut, so that nothing can follow; `gunzip` what is left of it, and use that"
    )


# --- the window on a full minute


@given(unix=st.floats(1.7e9, 2e9))
def test_a_load_waits_less_than_a_minute_to_end_on_a_full_one(unix):
    wait = to_the_minute(unix)

    assert 0 <= wait < 60
    assert min((unix + wait) % 60, 60 - (unix + wait) % 60) < 0.002


# --- a stored run, asked about later


@pytest.fixture
def azure():
    with azure_server() as server:
        server.requests = {("200", "False"): each(120)}
        server.levels = {UTILIZATION: each(14.4)}
        yield server


def ask_again(azure, path, *, cloud=None, **options):
    said = []
    options = AzureOptions(**{"resource": ACCOUNT, "monitor": True} | options)
    azure_run.again(path, options, cloud, {}, said.append, access=azure.access(Clock()))
    return said


def test_a_stored_run_is_compared_later(tmp_path, azure):
    path = stored(tmp_path)
    said = ask_again(azure, path)
    found = summarize(path)

    assert (rows(found)["requests"]["word"], rows(found)["utilization"]["word"]) == ("agrees", "agrees")
    assert (said, len(azure.polls)) == ([], 1)
    assert azure.polls[0].query["timespan"] == "2026-11-22T12:00:00Z/2026-11-22T12:03:00Z"


def test_a_stored_run_says_itself_which_resource(tmp_path, azure):
    path = runs.write(
        tmp_path / "run.jsonl", runs.head(**WINDOW | {"target": TARGET | {"resource": ACCOUNT}}), *steady(), END
    )
    ask_again(azure, path, resource=None)

    assert summarize(path)["monitor"] is not None


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ({"resource": None}, {"resource": None}, "--monitor: the run file does not name the resource; name it with"),
        ({"kind": "simulated"}, {}, "is no run of a deployment in Azure, so that Azure Monitor can't know of it"),
        ({}, {"resource": "contoso"}, "--resource: `contoso` is not the resource ID of an account"),
        ({}, {"cloud": "mars"}, "--cloud: `mars` is not one of public, usgov, china"),
        ({}, {"monitor_wait": "long"}, "--monitor-wait: `long` is not a duration"),
    ],
)
def test_a_run_that_azure_can_not_be_asked_about_is_a_usage_error(tmp_path, azure, target, options, said):
    path = runs.write(tmp_path / "run.jsonl", runs.head(**WINDOW | {"target": TARGET | target}), *steady(), END)
    with pytest.raises(UsageError) as raised:
        ask_again(azure, path, **options)

    assert said in str(raised.value)
    assert azure.asked == []


def test_who_may_not_ask_gets_one_sentence_and_the_file_stays(tmp_path, azure):
    path = stored(tmp_path)
    before = path.read_bytes()
    azure.script = [FORBIDDEN]
    with pytest.raises(TargetRefused) as raised:
        ask_again(azure, path)

    assert "the role Monitoring Reader on the resource" in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("options", [{"resource": ACCOUNT}, {"cloud": "usgov"}, {"monitor_wait": "1m"}])
def test_options_about_azure_go_with_monitor_only(tmp_path, options):
    with pytest.raises(UsageError) as raised:
        report_command.report([stored(tmp_path)], **options)

    assert str(raised.value) == "--resource, --cloud and --monitor-wait: go with --monitor only"


# --- the whole command


NO_PLACES = Places(junit=None, markdown=None, step=None)

WORKLOAD = {
    "name": "beside",
    "prompt_tokens": 40,
    "completion_tokens": 4,
    "load": {"rate": "40/s", "arrivals": "constant"},
    "duration": "300ms",
    "warmup": "0s",
}


@pytest.fixture(scope="module")
def chat():
    with healthy_server(tokens=4) as server:
        yield server


@pytest.fixture
def prepared(tmp_path, chat, azure):
    """A run on a server of ours with Azure beside it; `options` are of Azure, `target` of the command line."""
    clock = Clock()

    def prepare(*, target=None, workload=None, **options):
        file = tmp_path / "workload.yaml"
        file.write_text(json.dumps(WORKLOAD | (workload or {})))
        given = commands.RunOptions(
            workload=str(file),
            target=TargetOptions(endpoint=f"{chat.base}/openai/v1", deployment=NAME, **target or {}),
            results=tmp_path / "results",
            azure=AzureOptions(**{"resource": ACCOUNT} | options),
        )
        found = commands.prepare(given, {}, azure=azure.access(clock))
        # Nobody waits for a full minute here.
        return dataclasses.replace(found, whole_minute=False)

    return prepare


def now_and_then(azure):
    """Figures for any minute that a test can fall into."""
    minute = int(time.time() // 60) * 60
    minutes = range(minute - 600, minute + 600, 60)
    azure.requests = {("200", "False"): dict.fromkeys(minutes, 40.0)}
    azure.levels = {UTILIZATION: dict.fromkeys(minutes, 2.0)}


def run(prepared, capsys, *, as_json=True):
    """What a run said, and where it is stored."""
    code = run_command._run(prepared, NO_PLACES, as_json=as_json, strict=False)
    out, err = capsys.readouterr()
    (path,) = prepared.options.results.iterdir()
    assert code in (Exit.GOOD, Exit.INVALID)
    return out, " ".join(err.split()), path


def reasons(found):
    """What Azure has to do with the verdict; that a busy machine was late has nothing."""
    return {reason["code"] for reason in found["validity"]["reasons"]} & {
        "resized",
        "resource_changed",
        "foreign_traffic",
    }


def test_a_run_asks_what_the_deployment_is_before_and_after(prepared, azure, capsys):
    out, _, path = run(prepared(), capsys)
    found = json.loads(out)
    lines = list(store.lines(path))

    assert [line.when for line in lines if isinstance(line, Resource)] == ["before", "after"]
    assert (lines[1].when, lines[1].capacity) == ("before", 50)
    assert (found["target"]["ptu"], found["target"]["type"], found["target"]["model"]) == (50, "global", "gpt-4.1")
    assert (found["target"]["ptu_source"], found["target"]["resource"]) == ("Azure Resource Manager", ACCOUNT)
    assert found["metrics"]["tpm"]["per_ptu"] is not None
    assert len(azure.asked) == 2


def test_without_a_resource_the_size_is_as_typed(prepared, azure, capsys):
    out, _, path = run(prepared(resource=None, target={"model": "gpt-4.1", "ptu": 50}), capsys, as_json=False)

    assert "50 PTU, as typed" in out
    assert azure.asked == []
    assert load(path).azure == []


def test_a_resize_in_mid_run_is_seen(prepared, azure, capsys):
    ready = prepared()
    azure.deployment["sku"]["capacity"] = 100
    out, _, _ = run(ready, capsys)
    found = json.loads(out)

    assert reasons(found) == {"resized"}
    assert found["validity"]["verdict"] in ("degraded", "invalid")


def test_typed_values_that_differ_are_a_usage_error_before_any_load(prepared, chat):
    sent = len(chat.log)
    with pytest.raises(UsageError) as raised:
        prepared(target={"ptu": 100})

    assert str(raised.value).startswith("--ptu: `100` contradicts what Azure Resource Manager says of chat-ptu: `50`")
    assert len(chat.log) == sent


def test_a_load_in_shares_of_the_capacity_needs_nothing_typed(prepared):
    found = prepared(workload={"load": {"utilization": "50%"}, "duration": "2m"})

    assert found.capacity.ptu == 50


@pytest.mark.parametrize(
    ("options", "target", "said"),
    [
        ({"resource": None, "monitor": True}, {}, "--monitor: needs to know which resource; name it with --resource"),
        ({"monitor_wait": "1m"}, {}, "--monitor-wait: goes with --monitor only"),
        ({"monitor": True, "monitor_wait": "soon"}, {}, "--monitor-wait: `soon` is not a duration"),
        ({}, {"simulate": "gpt-4.1:50"}, "--resource: goes with a deployment in Azure, and the target is none"),
        ({}, {"api_style": "openai"}, "--resource: goes with a deployment in Azure, and the target is none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(prepared, azure, options, target, said):
    with pytest.raises(UsageError) as raised:
        prepared(target=target, **options)

    assert str(raised.value).startswith(said)
    assert azure.asked == []


def test_azures_figures_are_waited_for_after_the_report(prepared, azure, capsys):
    now_and_then(azure)
    azure.late = 2
    out, err, path = run(prepared(monitor=True), capsys, as_json=False)
    (after,) = (line for line in store.lines(path) if isinstance(line, Monitor) and line.of == "run")

    assert (after.stable, len(azure.polls)) == (True, 5)
    assert "utilization of the 5 minutes before the load, by Azure Monitor, was 2.0 %" in err
    assert "waiting for Azure Monitor's figures, at most 5m more: the last minute is not there yet" in err
    assert out.index("Latency") < out.index("Azure Monitor, 0 full UTC minutes")
    assert out.count("Latency") == 1


def test_json_is_one_document_with_azures_figures(prepared, azure, capsys):
    now_and_then(azure)
    out, _, _ = run(prepared(monitor=True), capsys)
    found = json.loads(out)

    assert (found["monitor"]["settled"], found["metrics"]["utilization"]["monitor"]["before"]) == (True, 0.02)


def test_without_a_wait_azure_is_asked_once_after_the_run(prepared, azure, capsys):
    now_and_then(azure)
    out, _, _ = run(prepared(monitor=True, monitor_wait="0"), capsys)

    assert (json.loads(out)["monitor"]["settled"], len(azure.polls)) == (False, 1)


def test_ctrl_c_during_the_wait_keeps_the_report(prepared, azure, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    now_and_then(azure)
    ready = prepared(monitor=True)
    by = dataclasses.replace(ready.beside.deployment.by, sleep=interrupted)
    beside = dataclasses.replace(ready.beside, deployment=dataclasses.replace(ready.beside.deployment, by=by))
    out, err, path = run(dataclasses.replace(ready, beside=beside), capsys)

    assert json.loads(out)["monitor"]["settled"] is False
    assert "the wait for Azure Monitor's figures was ended" in err
    assert summarize(path)["run"]["ended"] == "completed"


def test_no_role_for_azure_monitor_is_known_before_any_load(prepared, azure, chat):
    ready = prepared(monitor=True)
    azure.script = [FORBIDDEN]
    sent = len(chat.log)
    with pytest.raises(TargetRefused) as raised:
        run_command._run(ready, NO_PLACES, as_json=True, strict=False)

    assert "the role Monitoring Reader" in str(raised.value)
    assert len(chat.log) == sent


def test_azure_failing_after_the_load_costs_no_report(prepared, azure, capsys):
    now_and_then(azure)
    ready = prepared(monitor=True)
    azure.script = [None, FORBIDDEN, FORBIDDEN]  # before the load, the deployment after it, its figures
    out, err, _ = run(ready, capsys)
    found = json.loads(out)

    assert (found["monitor"], reasons(found)) == (None, set())
    assert "warning: --monitor: " in err
    assert "resource_unknown" in {note["code"] for note in found["notes"]}


def test_a_dry_run_says_what_the_deployment_is_and_sends_nothing_to_it(prepared, azure, chat, capsys):
    sent = len(chat.log)
    run_command._dry_run(prepared(), as_json=True, probe=False)
    found = json.loads(capsys.readouterr().out)

    assert (found["target"]["ptu"], found["target"]["content_filter"]) == (50, "Microsoft.DefaultV2")
    assert (len(azure.asked), len(chat.log)) == (1, sent)


def test_no_token_gets_into_file_or_output(prepared, azure, capsys):
    now_and_then(azure)
    azure.script = [None, None, Refusal(500, {"error": {"message": "Bearer fake-management-token is odd"}})]
    out, err, path = run(prepared(monitor=True, monitor_wait="0"), capsys)

    assert "fake-management-token" not in out + err + path.read_text()


def test_every_row_has_a_name_in_the_table():
    from ptubench.report import azure as shown

    assert set(monitoring.ROWS) == set(shown._NAMES)


def test_what_is_asked_for_is_what_is_compared():
    asked = {metric for question in monitor.RUN for metric in question.metrics}
    read = {
        said.UTILIZATION,
        said.CACHE_MATCH,
        said.TIME_TO_RESPONSE,
        said.REQUESTS,
        said.PROMPT,
        said.GENERATED,
        said.ACTIVE,
    }

    assert read == asked
