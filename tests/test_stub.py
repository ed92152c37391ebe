"""The benchmarks' server: what it sends is a proper answer, and its log is true to it."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulated import PATIENCE

STUB = Path(__file__).parents[1] / "benchmarks" / "stub.py"


@contextlib.contextmanager
def stub(*options):
    """A running stub and its port; ends with its stdin."""
    command = [sys.executable, str(STUB), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())["port"]
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


def ask(port, method, path, body=b""):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(client):
        client.request(method, path, body=body)
        answer = client.getresponse()
        return answer.headers, answer.read()


def test_a_stream_is_sent_as_its_log_says():
    with stub("--tokens", "5", "--rate", "100", "--ttft", "0.05") as (_, port):
        before = time.perf_counter()
        headers, body = ask(port, "POST", "/v1/chat/completions", b'{"stream": true}')
        after = time.perf_counter()
        _, log = ask(port, "GET", "/log?stamps")
        _, stats = ask(port, "GET", "/stats")

    row = json.loads(log)
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    texts = [choice["delta"].get("content") for event in events for choice in event["choices"]]
    assert row["id"] == headers["x-request-id"]
    assert len([text for text in texts if text]) == row["n"] == len(row["stamps"]) == 5
    assert events[-1]["usage"]["completion_tokens"] == 5
    assert body.endswith(b"data: [DONE]\n\n")
    assert before <= row["arrived"] <= row["first"] <= row["last"] <= after
    assert row["first"] - row["arrived"] >= 0.05
    assert (row["first"], row["last"]) == (row["stamps"][0], row["stamps"][-1])
    assert (json.loads(stats)["due"], json.loads(stats)["sent"]) == (5, 5)


def test_no_more_is_sent_than_the_request_asks_for():
    with stub("--tokens", "5", "--rate", "1000", "--ttft", "0") as (_, port):
        _, body = ask(port, "POST", "/v1/chat/completions", b'{"stream":true,"max_completion_tokens":2}')
        _, log = ask(port, "GET", "/log")
        _, stats = ask(port, "GET", "/stats")

    assert json.loads(log)["n"] == json.loads(stats)["due"] == json.loads(stats)["sent"] == 2
    assert b'"completion_tokens":2' in body


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections are not spread")
def test_several_share_a_port_and_name_their_requests_apart():
    with stub("--share", "--name", "a") as (_, port), stub("--share", "--name", "b", "--port", str(port)):
        names = {ask(port, "POST", "/", b"{}")[0]["x-request-id"][0] for _ in range(40)}

    assert names == {"a", "b"}


def test_nothing_leaves_before_it_is_due():
    with stub("--tokens", "20", "--rate", "200", "--ttft", "0.02") as (_, port):
        ask(port, "POST", "/", b'{"stream":true}')
        _, log = ask(port, "GET", "/log?stamps")

    row = json.loads(log)
    assert len(row["stamps"]) == 20
    assert all(stamp >= row["arrived"] + 0.02 + i / 200 for i, stamp in enumerate(row["stamps"]))


def test_a_call_that_asks_for_no_stream_is_answered_at_once():
    with stub("--tokens", "3") as (_, port):
        headers, body = ask(port, "POST", "/", b"{}")
        _, log = ask(port, "GET", "/log")

    answer, row = json.loads(body), json.loads(log)
    assert answer["choices"][0]["message"]["content"].split() == ["capacity", "and", "the"]
    assert answer["usage"]["completion_tokens"] == 3
    assert (row["id"], row["n"]) == (headers["x-request-id"], 0)


@pytest.mark.parametrize("way", ["stdin", "terminate"])
def test_it_ends_with_its_stdin_or_a_signal_and_says_what_it_did(way, tmp_path):
    with stub("--tokens", "1", "--log", str(tmp_path / "log")) as (process, port):
        ask(port, "POST", "/", b'{"stream":true}')
        process.terminate() if way == "terminate" else process.stdin.close()
        stats = json.loads(process.stdout.read())
        code = process.wait(PATIENCE)

    assert code == 0
    assert (stats["requests"], stats["sent"], stats["delivered"]) == (1, 1, 1.0)
    assert json.loads((tmp_path / "log").read_text())["n"] == 1


def test_a_client_that_leaves_is_counted_and_owed_nothing_more():
    with stub("--tokens", "10000", "--rate", "100", "--ttft", "0") as (_, port):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        client.request("POST", "/", body=b'{"stream":true}')
        client.getresponse().read(100)
        client.close()
        deadline = time.monotonic() + PATIENCE
        stats = {"abandoned": 0}
        while not stats["abandoned"] and time.monotonic() < deadline:
            stats = json.loads(ask(port, "GET", "/stats")[1])

    assert stats["abandoned"] == 1
    assert stats["due"] == stats["sent"] < 10_000
