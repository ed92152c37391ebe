"""Whatever stands in a file, it is read or refused in one sentence, in bounded time and memory."""

import gzip
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from azure_server import ACCOUNT, NAME, FakeCredential
from fuzzing import changed, fuzzed, spoilt
from ptubench import record
from ptubench.analysis import slim
from ptubench.analysis.summary import summarize
from ptubench.azure import arm, history, monitor, rest
from ptubench.compare.runs import compare
from ptubench.errors import PtubenchError, UsageError
from ptubench.gate.document import check, of_summary
from ptubench.load import messages, traces
from ptubench.load.plan import make_plan
from ptubench.page.runs import of_files
from ptubench.ptu import prices
from ptubench.report import export, github, junit, markdown, table, text
from ptubench.results import store
from ptubench.size import measured
from ptubench.stream.responses import as_input
from ptubench.usage import csv_file
from ptubench.workload import read as workload
from ptubench.workload import resolve, shipped
from ptubench.workload.model import Trace

SHIPPED = [workload._found(name)[0].read_bytes() for name in shipped.names()]
FOLDER = workload._found("chat")[0].parent
FULL = {
    "name": "full",
    "description": "all of it",
    "prompt_tokens": {"mean": 1000, "p95": 3000, "max": 9000},
    "completion_tokens": {"min": 50, "max": 150},
    "output_limit": 200,
    "cached": {"tokens": 1024, "prefixes": 3},
    "load": {
        "stages": [{"rate": "2/s", "for": "5s"}, {"rate": "2/s", "to": "3/s", "for": "5s"}],
        "arrivals": "gamma",
        "burstiness": 0.5,
    },
    "duration": "10s",
    "warmup": "1s",
    "drain": "5s",
    "seed": 1,
    "stream": True,
    "client": "timed",
    "max_in_flight": 100,
    "throttling": {"on_429": "retry", "max_retries": 2, "max_wait": "30s"},
    "timeouts": {"connect": "5s", "first_byte": "30s", "idle": "10s", "total": "60s"},
    "target": {"endpoint": "https://r.openai.azure.com", "deployment": "d", "model": "gpt-4.1", "ptu": 50},
    "parameters": {"temperature": 0.5, "reasoning_effort": "low"},
    "checks": ["ttft.p95 <= 1s", "refused.ratio <= 1%"],
    "abort": ["failed.ratio <= 20%"],
}
MIX = FULL | {
    "classes": {
        "short": {"weight": 3, "prompt_tokens": 100, "completion_tokens": 9},
        "long": {"prompt_tokens": 5000, "completion_tokens": 100},
    },
    "load": {"concurrency": 5, "think_time": "1s"},
}
for key in ("prompt_tokens", "completion_tokens", "output_limit", "cached"):
    del MIX[key]
TRACES = {
    "azure": b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "jsonl": b'{"timestamp":0.5,"prompt_tokens":100,"completion_tokens":5}\n'
    b'{"timestamp":"2026-11-22T09:15:00Z","prompt_tokens":1200,"completion_tokens":5,"cached_tokens":1024}\n',
    "usage": b"minute,requests,prompt_tokens,cached_tokens,completion_tokens\n2026-11-22T09:15Z,3,3000,1024,600\n"
    b"2026-11-22T09:16Z,0,0,0,0\n2026-11-22T09:17Z,2,2000,0,100\n",
}
MESSAGE = {
    "custom_id": "1",
    "body": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ],
        "max_completion_tokens": 50,
    },
}
PRICES = b"""dated: 2026-11-01
currency: USD
ptu:
  global: {hour: 1, month: 260, year: 2652, source: own}
standard: {global: 1, regional: 1.1}
models:
  gpt-4.1: {input: 2, cached: 0.5, output: 8, source: own}
"""


def written(data, name):
    """A file with these bytes, in a folder that is tidied up with the process."""
    path = Path(_FOLDER.name) / name
    path.write_bytes(data)
    return path


_FOLDER = tempfile.TemporaryDirectory()


def check_sentence(refused):
    """One sentence for people, whatever they have to read it from."""
    assert isinstance(refused, PtubenchError)
    check_line(refused)


def check_line(refused):
    """One line, whatever it repeats."""
    said = str(refused)

    assert "\n" not in said
    assert len(said) < 2000


def check_workload(data):
    try:
        text_ = data.decode()
        read = workload.decode(text_, "w.yaml", FOLDER)
        if not read.pending:
            make_plan(resolve.resolve(read, None)).request(0)
    except UsageError as refused:
        check_sentence(refused)
    except (UnicodeDecodeError, IndexError):
        pass  # the bytes are no text; a plan without any request


@given(st.sampled_from([*SHIPPED, msgspec.json.encode(FULL), msgspec.json.encode(MIX)]).flatmap(changed))
@fuzzed(40)
def test_a_workload_of_any_bytes_is_read_or_refused(data):
    check_workload(data)


@given(st.sampled_from([FULL, MIX]).flatmap(spoilt))
@fuzzed(60)
def test_a_workload_of_any_values_is_read_or_refused(values):
    check_workload(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))


@pytest.mark.parametrize("form", sorted(TRACES))
@given(data=st.data(), start=st.sampled_from([0.0, 10.0, 1e9]), speed=st.sampled_from([0.001, 1.0, 1e6]))
@fuzzed(40)
def test_a_trace_of_any_bytes_is_read_or_refused(form, data, start, speed):
    path = written(data.draw(changed(TRACES[form])), "trace")
    try:
        load = Trace(file=str(path), format=form, start=start, speed=speed)
        entries = traces.read(load, duration=3600.0, seed=0)
    except UsageError as refused:
        check_sentence(refused)
    else:
        assert (entries.offsets >= 0).all()
        assert (entries.prompt >= 32).all()


@given(changed(TRACES["usage"]))
@fuzzed(40)
def test_a_usage_history_of_any_bytes_is_read_or_refused(data):
    try:
        usage = csv_file.read(str(written(data, "usage.csv")))
    except UsageError as refused:
        check_sentence(refused)
    else:
        assert (usage.cached <= usage.prompt).all()


@given(st.one_of(changed(msgspec.json.encode(MESSAGE) + b"\n"), spoilt(MESSAGE).map(msgspec.json.encode)))
@fuzzed(60)
def test_messages_of_any_bytes_are_read_or_refused(data):
    try:
        read = messages.read(str(written(data, "messages.jsonl")))
    except UsageError as refused:
        check_sentence(refused)
        return
    for line in read:
        with suppress(ValueError):  # how it says that there is no counterpart
            as_input(line.messages)


@given(changed(PRICES))
@fuzzed(60)
def test_a_table_of_prices_of_any_bytes_is_read_or_refused(data):
    try:
        prices.load(written(data, "prices.yaml"))
    except UsageError as refused:
        check_sentence(refused)


LINES = [
    runs.head(),
    *runs.steady(3),
    runs.ok(3, 20.0, lane=0, lane_wait=0.1, cached_tokens=50, reasoning_tokens=5, connect_s=0.1, tls_s=0.05, attempt=1),
    runs.throttled(4, 21.0),
    runs.failed(5, 22.0),
    runs.cut(6, 69.0),
    runs.dropped(7, 23.0),
    record.Lost(index=8, scheduled=24.0),
    runs.tick(20, gaps={500: 3}, loop_lag={300: 100}, cpu=0.5, in_flight=2, sent=3, content_events=60),
    record.Resource(when="before", asked_unix=1.8e9, id=ACCOUNT, deployment="d", sku="ProvisionedManaged", capacity=50),
    record.Monitor(
        of="run",
        asked_unix=1.8e9,
        id=ACCOUNT,
        deployment="d",
        span=(1795348800, 1795348920),
        series=(record.Series(metric=monitor.UTILIZATION, average={1795348800: 50.0}, maximum={1795348800: 60.0}),),
    ),
    runs.end(unsent=2, problems=("x",)),
]
WHOLE = b"".join(map(record.encode, LINES))
PLAIN = [msgspec.json.decode(record.encode(line)) for line in LINES]


def check_run_file(path):
    """Everything that is made of a run file, or one sentence."""
    try:
        summary = summarize(path)
    except UsageError as refused:
        check_sentence(refused)
        return
    msgspec.json.encode(summary)
    console = text.console()
    with console.capture():
        console.print(table.render(summary))
    document = of_summary(summary)
    junit.junit(document)
    github.annotations(document)
    markdown.of_check(document, [summary])
    export.timeline(store.read_head(path), summary)
    "".join(export.attempts(store.lines(path), summary["run"]["window_s"]))


def check_made_of(path):
    """What takes longer: another file, a page, a comparison with a good run, what it tells of its deployment."""
    small = path.with_name("small.jsonl")
    small.unlink(missing_ok=True)
    good = written(WHOLE.replace(b'"run_id":"known"', b'"run_id":"other"'), "good.jsonl")
    for make in (
        lambda: slim.write(path, small),
        lambda: of_files([path], prices.shipped(), alias=True),
        lambda: compare([good, path], prices.shipped(), force=True),
        lambda: check([path], baseline=[good], rules=["ttft.p95 <= 1s"]),
        lambda: measured.read(path, model="gpt-4.1", ratio=None),
    ):
        try:
            make()
        except PtubenchError as refused:
            check_sentence(refused)


@given(spoilt(PLAIN, least=1))
@fuzzed(40)
def test_a_run_file_of_any_values_is_read_or_refused(lines):
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in (lines if isinstance(lines, list) else [lines]))
    check_run_file(written(data, "values.jsonl"))


@given(spoilt(PLAIN, least=1))
@fuzzed(4)
def test_whatever_is_made_of_a_run_file_of_any_values_is_made_or_refused(lines):
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in (lines if isinstance(lines, list) else [lines]))
    check_made_of(written(data, "made.jsonl"))


@given(st.one_of(changed(WHOLE), st.binary(max_size=100)))
@fuzzed(20)
def test_a_run_file_of_any_bytes_is_read_or_refused(data):
    check_run_file(written(data, "bytes.jsonl"))


@given(changed(gzip.compress(WHOLE)))
@fuzzed(20)
def test_a_compressed_run_file_of_any_bytes_is_read_or_refused(data):
    check_run_file(written(data, "bytes.jsonl.gz"))


DEPLOYMENT = {
    "sku": {"name": "GlobalProvisionedManaged", "capacity": 50},
    "properties": {
        "model": {"name": "gpt-4.1", "version": "2025-04-14"},
        "raiPolicyName": "x",
        "spilloverDeploymentName": "y",
        "provisioningState": "Succeeded",
    },
}
SERIES = {
    "metadatavalues": [{"name": {"value": "statuscode"}, "value": "200"}],
    "data": [{"timeStamp": "2026-11-22T12:00:00Z", "total": 5.0, "average": 1.0, "maximum": 2.0}],
}
ANSWER = {
    "value": [
        {"name": {"value": metric}, "errorCode": "Success", "timeseries": [SERIES]}
        for metric in (monitor.REQUESTS, monitor.PROMPT, monitor.GENERATED, monitor.ACTIVE)
    ]
}
NOON = 1795348800
DEPLOYED = rest.Deployment(
    by=rest.Access(management="http://127.0.0.1:9", credential=FakeCredential(), scope="s"), resource=ACCOUNT, name=NAME
)


@given(said=spoilt(DEPLOYMENT))
@fuzzed(60)
def test_what_azure_says_of_a_deployment_is_read_or_refused(said, monkeypatch):
    monkeypatch.setattr(rest, "get", lambda *_, **__: said)
    try:
        record.encode(arm.look_up(DEPLOYED, "before"))
    except rest.Failure as failure:
        check_line(failure)


@given(said=spoilt(ANSWER))
@fuzzed(60)
def test_what_azure_monitor_says_is_read_or_refused(said, monkeypatch, tmp_path):
    monkeypatch.setattr(rest, "get", lambda *_, **__: said)
    try:
        record.encode(monitor.ask(DEPLOYED, (NOON, NOON + 120)))
    except rest.Failure as failure:
        check_line(failure)
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):  # asked, then kept
            try:
                history.fetch(DEPLOYED, last=7200.0, now=NOON + 1e5, cache=Path(cache))
            except PtubenchError as refused:
                check_sentence(refused)
