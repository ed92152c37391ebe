"""The scripted server: what it says is on the wire what the script says, and its log tells when."""

import contextlib
import http.client
import json
import socket
import ssl
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.sim import answers, faults
from ptubench.sim.script import DONE, Ask, Do, Pace, chunk, chunked, content
from ptubench.sim.wire import MOST_REQUEST
from servers import (
    CHAT,
    FORBIDDEN,
    PASS,
    Authority,
    fault_server,
    front_server,
    healthy,
    healthy_server,
    proxy,
    script_server,
)
from simulated import PATIENCE

ASK = Ask(method="POST", target=CHAT, headers={}, body=b"", connection=0, nth=0, arrived=0.0)
REQUEST = b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
KEPT = REQUEST.replace(b"Connection: close\r\n", b"")
ENDLESS = {"stall_first_byte", "stall_headers", "stall_midstream"}
PACE = Pace(tokens=8)


def exchange(port: int, request: bytes = REQUEST) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(request)
        return receive(client)


def receive(client: socket.socket) -> bytes:
    """All that comes until the server closes or the client's time is over."""
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while data := client.recv(65536):
            answer += data
    return answer


def post(port: int, body: bytes = b"{}") -> tuple[int, bytes]:
    """Status and body, read by the standard library's client."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        client.request("POST", CHAT, body=body)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def text_of(body: bytes) -> str:
    """The text of a stream's content events."""
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in choices)


def written(actions) -> bytes:
    return b"".join(action for action in actions if isinstance(action, bytes))


def test_a_proper_answer_is_read_by_the_standard_library():
    with healthy_server(tokens=3) as server:
        status, body = post(server.port)

    assert (status, text_of(body), body.endswith(DONE)) == (200, " one two three", True)


def test_the_log_tells_when_each_content_event_left():
    with healthy_server(tokens=4, ttft=0.05, gap=0.02) as server:
        before = time.perf_counter()
        post(server.port)
        after = time.perf_counter()
        played = server.log[0]

    assert before <= played.ask.arrived <= played.began <= played.contents[0] < played.contents[-1] <= after
    assert len(played.contents) == 4
    assert played.contents[0] - played.began >= 0.045
    assert all(b - a >= 0.015 for a, b in zip(played.contents, played.contents[1:], strict=False))


def test_the_log_keeps_what_was_asked():
    with script_server({"/a": healthy(tokens=1), "/b": healthy(tokens=2)}) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        for path in ("/a?x=1", "/b"):
            client.request("POST", path, body=b"body of " + path.encode(), headers={"API-Key": "k"})
            client.getresponse().read()
        client.close()
        asks = [played.ask for played in server.log]

    assert [(ask.target, ask.path, ask.body) for ask in asks] == [
        ("/a?x=1", "/a", b"body of /a?x=1"),
        ("/b", "/b", b"body of /b"),
    ]
    assert [(ask.connection, ask.nth, ask.headers["api-key"]) for ask in asks] == [(0, 0, "k"), (0, 1, "k")]
    assert [len(played.contents) for played in server.log] == [1, 2]


@pytest.mark.parametrize("kind", sorted(set(faults.FAULTS) - ENDLESS - {"huge_event", "throttled_date"}))
def test_every_fault_puts_its_script_on_the_wire(kind):
    fault = faults.FAULTS[kind]
    with fault_server(kind) as server:
        answer = exchange(server.port)

    assert written(fault.play(ASK, PACE)).startswith(answer)
    assert bool(answer) == (kind not in {"reset_before_headers", "close_before_headers"})


@pytest.mark.parametrize("kind", sorted(ENDLESS))
def test_a_stall_says_no_more_and_keeps_the_connection(kind):
    said = written(faults.FAULTS[kind].play(ASK, PACE))
    with fault_server(kind) as server, socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(REQUEST)
        answer = b""
        while len(answer) < len(said):
            answer += client.recv(65536)
        client.settimeout(0.2)
        answer += receive(client)
        client.settimeout(PATIENCE)
        client.shutdown(socket.SHUT_WR)
        rest = receive(client)

    assert (answer, rest) == (said, b"")


def test_a_reset_is_a_reset():
    with (
        fault_server("reset_before_headers") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client,
    ):
        client.sendall(REQUEST)

        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_pooled_connection_closes_when_it_is_used_again():
    with (
        fault_server("pooled_close") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client,
    ):
        client.sendall(KEPT)
        first = b""
        while not first.endswith(b"0\r\n\r\n"):
            first += client.recv(65536)
        client.sendall(KEPT)

        assert client.recv(1) == b""


def test_a_huge_event_arrives_whole():
    with fault_server("huge_event") as server:
        _, body = post(server.port)

    assert len(text_of(body)) == answers.HUGE_EVENT + len(" one")


@pytest.mark.parametrize(
    "kind",
    ["crlf", "bytewise", "three_per_write", "one_write", "comments", "odd_deltas", "packed", "one_event", "no_done"],
)
def test_odd_and_legal_answers_carry_the_same_text(kind):
    with fault_server(kind) as server:
        status, body = post(server.port)

    assert (status, text_of(body.replace(b"\r\n", b"\n"))) == (200, "".join(answers.texts(PACE)))


@pytest.mark.parametrize(
    ("kind", "events"), [("three_per_write", 8), ("one_write", 8), ("packed", 2), ("one_event", 1), ("bytewise", 8)]
)
def test_each_content_event_is_logged_once(kind, events):
    with fault_server(kind) as server:
        post(server.port)
        contents = server.log[0].contents

    assert len(contents) == events


def test_a_character_is_really_cut():
    parts = [action for action in answers.cut_characters(PACE) if isinstance(action, bytes)]

    with pytest.raises(UnicodeDecodeError):
        parts[2].decode()


def test_headers_are_longer_than_64_kib():
    head = next(answers.huge_headers(PACE))

    assert len(head) > 65536


def test_garbage_and_endless_requests_close_the_connection():
    with healthy_server() as server:
        answered = exchange(server.port, b"\x00\x01 what\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MOST_REQUEST * 2))
            try:
                client.sendall(
                    bytes(MOST_REQUEST + 2**23)
                )  # what the socket takes in before the close arrives is not ours to say
                endless = client.recv(1)
            except ConnectionError:
                endless = b""

    assert (answered, endless) == (b"", b"")


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=50), min_size=1), st.integers(1, 4))
def test_joining_writes_changes_no_byte_and_loses_no_mark(writes, events):
    actions = [part for write in writes for part in (0.1, write, Do.CONTENT)]
    after = list(answers.joined(actions, events=events))

    assert written(after) == written(actions)
    assert after.count(Do.CONTENT) == len(writes)


def test_a_chunk_carries_its_length():
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_nothing_follows_a_close():
    assert list(chunked([b"a", Do.CLOSE, b"b"]))[1:] == [chunk(b"a"), Do.CLOSE]


def test_tls_is_served_with_the_name_that_was_asked_for(tmp_path):
    authority = Authority()
    trust = ssl.create_default_context(cafile=str(authority.file(tmp_path)))
    with healthy_server(tls=authority.serving("example.test")) as server:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        with raw, trust.wrap_socket(raw, server_hostname="example.test") as client:
            client.sendall(REQUEST)
            status_line = client.recv(12)
        other = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        with other, pytest.raises(ssl.SSLCertVerificationError):
            trust.wrap_socket(other, server_hostname="another.test")

    assert status_line == b"HTTP/1.1 200"


def test_the_proxy_tunnels_or_refuses():
    with healthy_server(tokens=1) as server:
        connect = f"CONNECT nowhere.test:{server.port} HTTP/1.1\r\nHost: nowhere.test\r\n\r\n".encode()
        with proxy(host="127.0.0.1") as open_proxy:
            passed = exchange(open_proxy.port, connect + REQUEST)
        with proxy(FORBIDDEN) as closed_proxy:
            refused = exchange(closed_proxy.port, connect)

    assert passed.startswith(PASS + b"HTTP/1.1 200")
    assert refused == FORBIDDEN
    assert open_proxy.asked == [f"nowhere.test:{server.port}"]


def test_the_front_passes_the_bytes_of_the_upstream_unchanged():
    with healthy_server() as upstream:
        direct = exchange(upstream.port)
        with front_server({}, ("127.0.0.1", upstream.port)) as (port, played):
            through = exchange(port)

    assert through == direct
    assert played == []
    assert upstream.log[1].ask.body == b"{}"


def test_the_front_keeps_connections_and_passes_their_requests_one_after_the_other():
    with healthy_server(tokens=2) as upstream, front_server({}, ("127.0.0.1", upstream.port)) as (port, _):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        statuses = []
        for method in ("POST", "POST", "GET"):
            client.request(method, CHAT)
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
        client.close()

    assert statuses == [200] * 3
    assert [played.ask.method for played in upstream.log] == ["POST", "POST", "GET"]


def test_the_front_plays_its_share_and_the_same_for_the_same_seed():
    def statuses(seed):
        with front_server({"http_503": 0.3, "redirect": 0.1}, ("127.0.0.1", upstream.port), seed=seed, pace=PACE) as (
            port,
            played,
        ):
            return [post(port)[0] for _ in range(60)], [one.kind for one in played]

    with healthy_server(tokens=1) as upstream:
        first, kinds = statuses(1)
        again, _ = statuses(1)
        other, _ = statuses(2)

    assert first == again != other
    assert [{503: "http_503", 302: "redirect"}[status] for status in first if status != 200] == kinds
    assert 0.2 <= len(kinds) / 60 <= 0.6


def test_the_front_never_plays_a_fault_for_a_get():
    with (
        healthy_server(tokens=1) as upstream,
        front_server({"http_500": 1.0}, ("127.0.0.1", upstream.port)) as (port, _),
    ):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        client.request("GET", "/simulator/state")
        status = client.getresponse().status
        client.close()

    assert status == 200


def test_the_front_closes_when_the_upstream_is_gone():
    with front_server({}, ("127.0.0.1", 1)) as (port, _):
        answer = exchange(port)

    assert answer == b""


def test_the_front_logs_when_its_content_left():
    with front_server({"no_done": 1.0}, ("127.0.0.1", 1), pace=Pace(tokens=3, gap=0.01)) as (port, played):
        post(port)

    assert len(played[0].contents) == 3
    assert played[0].contents == sorted(played[0].contents)


def test_shares_are_read():
    assert faults.parse(["reset_midstream:1%", "http_500:0.02"]) == {"reset_midstream": 0.01, "http_500": 0.02}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["reset_midsteam:1%"],
            "--faults reset_midsteam:1%: unknown fault `reset_midsteam`; did you mean `reset_midstream`?",
        ),
        (
            ["http_500"],
            "--faults http_500: `` is not a share; write a percentage such as 1%, or a number from 0 to 1",
        ),
        (
            ["http_500:60%", "http_503:60%"],
            "--faults: the shares add up to 120 %; keep them at 100 % or below",
        ),
    ],
)
def test_a_wrong_share_is_one_sentence(texts, message):
    with pytest.raises(UsageError) as caught:
        faults.parse(texts)

    assert str(caught.value) == message


def test_every_kind_is_explained():
    assert all(text and text[0].islower() and not text.endswith(".") for text in faults.KINDS.values())
    assert content(" x").startswith(b"data: {")
