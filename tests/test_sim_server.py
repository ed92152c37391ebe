import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from ptubench.errors import UsageError
from ptubench.sim import chat
from ptubench.sim.deployment import Call, Deployment
from ptubench.sim.options import parse
from ptubench.sim.server import serve, welcome
from simulated import PATIENCE, simulated

PLAIN = "/openai/v1/chat/completions"
CLASSIC = "/openai/deployments/mine/chat/completions?api-version=2024-10-21"


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    with simulated(tmp_path_factory.mktemp("sim")) as running:
        yield running


def ask(sim, path=PLAIN, *, method="POST", headers=None, raw=None, **fields):
    """Status, headers and body of one exchange on a connection of its own."""
    body = {"model": "mine", "messages": [{"role": "user", "content": "one two, in 5 tokens."}], **fields}
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, path, raw if raw is not None else json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def events(body):
    return [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part]


def fault(body):
    return json.loads(body)["error"]


# --- streams


@pytest.mark.parametrize("path", [PLAIN, CLASSIC, "/v1/chat/completions"])
def test_a_stream_has_azures_order_of_events(sim, path):
    status, headers, body = ask(sim, path, stream=True, stream_options={"include_usage": True})
    *said, done = events(body)
    first, role, *words, finish, usage = [json.loads(event) for event in said]

    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert (first["choices"], "prompt_filter_results" in first) == ([], True)
    assert role["choices"][0]["delta"] == {"content": "", "refusal": None, "role": "assistant"}
    assert [word["choices"][0]["delta"]["content"] for word in words] == [" the", " river", " runs", " past", " quiet"]
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert usage["choices"] == []
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (7 + 5 + 1, 5)
    assert done == b"[DONE]"


def test_usage_comes_only_when_asked_for(sim):
    _, _, body = ask(sim, stream=True)

    assert not any(b"usage" in event for event in events(body))


def test_a_buffering_filter_packs_tokens_into_events(tmp_path):
    with simulated(tmp_path, tokens_per_event=3) as packed:
        _, _, body = ask(packed, stream=True)
        (entry,) = packed.log(1)

    assert [b" the river runs" in body, b" past quiet" in body] == [True, True]
    assert entry["content"] == [2, 3]


def test_an_answer_without_a_stream_has_the_same_words_and_counts(sim):
    status, headers, body = ask(sim, max_tokens=3)
    answer = json.loads(body)

    assert (status, headers["content-type"]) == (200, "application/json")
    assert answer["choices"][0]["message"]["content"] == " the river runs"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 13 + 3
    assert answer["model"] == "gpt-4.1-2025-04-14"


def test_every_answer_says_that_it_is_simulated_and_which_one_it_is(sim):
    _, headers, _ = ask(sim, CLASSIC)
    _, refused, _ = ask(sim, "/nowhere")

    assert headers["x-ptubench-simulated"] == refused["x-ptubench-simulated"] == "gpt-4.1:50"
    assert headers["x-request-id"] == headers["apim-request-id"]
    assert (headers["x-ms-region"], headers["x-ms-deployment-name"]) == ("Simulated", "mine")


def test_reasoning_tokens_are_counted_and_not_sent(tmp_path):
    with simulated(tmp_path, model="o3", reasoning=40) as thinking:
        _, _, body = ask(thinking, max_completion_tokens=100)
    usage = json.loads(body)["usage"]

    assert usage["completion_tokens"] == 45
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 40


def test_a_repeated_prefix_is_answered_from_the_prompt_cache(sim):
    grounding = {"role": "system", "content": "word " * 1500}
    cached = []
    for question in ("first?", "second?"):
        _, _, body = ask(sim, messages=[grounding, {"role": "user", "content": question}], max_tokens=1)
        cached.append(json.loads(body)["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert cached == [0, 1408]


# --- the log


def test_the_log_tells_when_each_event_really_left(tmp_path):
    began = time.perf_counter()
    with simulated(tmp_path, latency=0.2, tps=100) as sim:
        _, headers, _ = ask(sim, stream=True, stream_options={"include_usage": True})
        ended = time.perf_counter()
        (entry,) = sim.log(1)
    sent = entry["sent"]

    assert entry["request_id"] == headers["x-request-id"]
    assert (entry["status"], entry["prompt_tokens"], entry["completion_tokens"]) == (200, 13, 5)
    assert (len(sent), entry["content"]) == (2 + 5 + 3, [2, 3, 4, 5, 6])
    assert (entry["first_content"], entry["last_content"]) == (sent[2], sent[6])
    assert began < entry["arrived"] < sent[0] < sent[2] <= sent[-1] < entry["end"]
    assert entry["first_content"] < ended  # the last stamps are made when the client may have read the bytes
    assert entry["first_content"] - entry["arrived"] > 0.19
    assert entry["last_content"] - entry["arrived"] > 0.19 + 0.035
    assert not entry["gone"]


def test_a_client_that_leaves_ends_the_generation(tmp_path):
    question = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "9000 tokens"}]})
    with simulated(tmp_path, tps=200) as sim:
        with socket.create_connection(("127.0.0.1", sim.port)) as client:
            head = f"POST {PLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(question)}\r\n\r\n"
            client.sendall((head + question).encode())
            client.recv(100)
            time.sleep(0.2)
        (entry,) = sim.log(1)
        state = json.loads(ask(sim, "/simulator/state", method="GET")[2])

    assert entry["gone"]
    assert 0 < entry["completion_tokens"] < 9000
    assert sum(tokens for _, tokens in state["minutes"]) == 11 + 4 * entry["completion_tokens"]


def test_many_streams_at_once_are_all_complete(tmp_path):
    async def one(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        question = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "60 tokens"}]})
        writer.write(f"POST {PLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(question)}\r\n\r\n{question}".encode())
        answer = await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return answer.count(b'"severity":"safe"},"sexual"')

    async def all_at_once(port):
        return await asyncio.gather(*(one(port) for _ in range(100)))

    with simulated(tmp_path, ptu=1000, tps=50) as sim:
        counts = asyncio.run(all_at_once(sim.port))
        entries = sim.log(100)

    assert counts == [60 + 1] * 100
    assert {entry["completion_tokens"] for entry in entries} == {60}


# --- refusals


def test_a_full_deployment_answers_429_with_both_headers(tmp_path):
    with simulated(tmp_path, level="full", depth=10, ptu=1, prefill=1e7) as sim:
        ask(sim, messages=[{"role": "user", "content": "word " * 20_000}])  # minutes of its capacity
        status, headers, body = ask(sim)
        _, entry = sim.log(2)

    assert status == 429
    assert int(headers["retry-after"]) == -(-int(headers["retry-after-ms"]) // 1000) > 0
    assert fault(body)["code"] == "429"
    assert (entry["status"], entry["retry_after_ms"]) == (429, int(headers["retry-after-ms"]))
    assert entry["level"] >= 1


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"ignore_eos": True}, "ignore_eos", "unknown_parameter"),
        ({"stream": True, "stream_options": {"every": 1}}, "stream_options.every", "unknown_parameter"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "invalid_parameter_combination"),
        ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
        ({"max_tokens": 0}, None, "invalid_value"),
        ({"messages": []}, "messages", None),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_type"),
        ({"n": 2}, "n", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"model": None}, "model", None),
        ({"messages": [{"role": "user", "content": "w " * 128_001}]}, "messages", "context_length_exceeded"),
    ],
)
def test_a_request_that_azure_would_refuse_is_refused(sim, fields, param, code):
    status, _, body = ask(sim, **fields)

    assert (status, fault(body)["param"], fault(body)["code"]) == (400, param, code)
    assert fault(body)["message"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nonsense", b"\xff\xfe", b'{"a":' * 100_000, b"[]", b'{"messages":"\\ud800"}']
)
def test_a_body_that_is_no_request_is_refused(sim, raw):
    status, _, body = ask(sim, raw=raw)

    assert (status, fault(body)["type"]) == (400, "invalid_request_error")


def test_reasoning_models_refuse_max_tokens_and_name_the_way_out(tmp_path):
    with simulated(tmp_path, model="gpt-5") as sim:
        status, _, body = ask(sim, max_tokens=5)
        right, _, _ = ask(sim, max_completion_tokens=5)

    assert (status, right) == (400, 200)
    assert (fault(body)["param"], fault(body)["code"]) == ("max_tokens", "unsupported_parameter")
    assert "max_completion_tokens" in fault(body)["message"]


def test_a_body_beyond_all_measure_is_refused(sim):
    status, _, _ = ask(sim, raw=b" " * (33 * 2**20))

    assert status == 413


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("/openai/deployments/mine/chat/completions", "POST", (404, "404")),
        ("/openai/v1/embeddings", "POST", (404, "404")),
        ("/openai/deployments/a%0d%0ab/chat/completions?api-version=1", "POST", (404, "DeploymentNotFound")),
        (PLAIN, "GET", (405, "405")),
    ],
)
def test_a_wrong_address_is_refused(sim, path, method, expected):
    status, _, body = ask(sim, path, method=method)

    assert (status, fault(body)["code"]) == expected


def test_only_the_deployment_that_exists_is_answered(tmp_path):
    with simulated(tmp_path, deployment="mine") as sim:
        right, wrong = ask(sim, model="mine"), ask(sim, model="yours")

    assert (right[0], wrong[0], fault(wrong[2])["code"]) == (200, 404, "DeploymentNotFound")


def test_the_key_is_asked_for_by_either_header(tmp_path):
    env = {**os.environ, "SIM_KEY": "right"}
    with simulated(tmp_path, env=env, key_env="SIM_KEY") as sim:
        given = [{}, {"api-key": "wrong"}, {"api-key": "right"}, {"Authorization": "Bearer right"}]
        statuses = [ask(sim, headers=headers)[0] for headers in given]

    assert statuses == [401, 401, 200, 200]
    assert "right" not in sim.file.read_text()


def test_a_refused_request_leaves_the_connection_usable(sim):
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=PATIENCE)
    statuses = []
    with contextlib.closing(connection):
        for body in ("{", '{"model": "m", "messages": [{"role": "user", "content": "1 token"}]}'):
            connection.request("POST", PLAIN, body)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)

    assert statuses == [400, 200]


def test_it_lists_its_model_and_tells_its_state(tmp_path):
    with simulated(tmp_path, depth=10) as sim:
        ask(sim, max_tokens=5)
        models = json.loads(ask(sim, "/openai/v1/models", method="GET")[2])
        state = json.loads(ask(sim, "/simulator/state", method="GET")[2])

    assert [model["id"] for model in models["data"]] == ["gpt-4.1"]
    assert (state["model"], state["ptu"], state["tpm"], state["depth_s"]) == ("gpt-4.1", 50, 150_000, 10)
    assert (state["admitted"], state["throttled"]) == (1, 0)
    assert abs(state["minutes"][0][0] - time.time()) < 180
    assert sum(tokens for _, tokens in state["minutes"]) == 13 + 4 * 5


# --- reading prompts


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Answer in 20 tokens.", 20),
        ("I have 5 tokens. Answer in exactly 300 tokens", 300),
        ("Answer in 1 token", 1),
        ("Answer in many tokens", None),
        ("20 tokens, and many tokens", 20),
        ("99999999999999999999 tokens", None),
        ("", None),
    ],
)
def test_the_last_number_of_tokens_is_what_a_prompt_asks_for(text, tokens):
    assert chat.asked(text) == tokens


def test_only_the_last_words_of_the_user_ask():
    body = {"messages": [{"role": "user", "content": "9 tokens"}, {"role": "user", "content": "4 tokens"}]}
    body["messages"].append({"role": "assistant", "content": "7 tokens"})
    request = chat.read(json.dumps(body).encode(), reasoning=False)

    assert chat.call(request, parse("gpt-4.1:50")).asked == 4


def test_parts_of_text_are_words_like_others():
    content = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]
    request = chat.read(json.dumps({"messages": [{"role": "user", "content": content}]}).encode(), reasoning=False)

    assert chat.call(request, parse("gpt-4.1:50,overhead=4")).prompt == 4 + 3


@pytest.mark.parametrize("tokens_per_event", [1, 2, 7, 100])
def test_all_tokens_are_sent_whatever_an_event_holds(tokens_per_event):
    admitted = Deployment(parse("gpt-4.1:50")).offer(0, Call(prompt=10, asked=41))
    answer = chat.Answer("id", 0, "gpt-4.1", admitted, with_usage=True)
    sent = list(answer.events(tokens_per_event=tokens_per_event))
    deltas = [json.loads(e.body[6:])["choices"][0]["delta"]["content"] for e in sent if e.content]
    whole = json.loads(answer.document())["choices"][0]["message"]["content"]

    assert "".join(deltas) == whole
    assert len(whole.split()) == 41
    assert [e.due for e in sent] == sorted(e.due for e in sent)
    assert sent[-1].due == admitted.end


# --- processes


def start(*arguments: str, **options):
    return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def test_it_ends_when_its_parents_end_of_the_pipe_closes_even_in_the_middle_of_an_answer(tmp_path):
    with simulated(tmp_path, tps=1) as sim, socket.create_connection(("127.0.0.1", sim.port)) as client:
        question = '{"model": "m", "stream": true, "messages": [{"role": "user", "content": "900 tokens"}]}'
        client.sendall(
            f"POST {PLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(question)}\r\n\r\n{question}".encode()
        )
        client.recv(10)
        sim.process.stdin.close()

        assert sim.process.wait(PATIENCE) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a POSIX signal")
def test_it_ends_when_its_parent_is_killed():
    parent_code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'ptubench.sim.child'], stdin=subprocess.PIPE)\n"
        """child.stdin.write(b'{"model": "gpt-4.1", "ptu": 50}\\n')\n"""
        "child.stdin.flush()\n"
        "time.sleep(60)\n"
    )
    with start("-c", parent_code) as parent:
        port = json.loads(parent.stdout.readline())["port"]
        parent.kill()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and _accepts(port):
            time.sleep(0.02)

        assert not _accepts(port)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_it_leaves_ctrl_c_to_its_parent(sim):
    sim.process.send_signal(signal.SIGINT)
    time.sleep(0.2)

    assert ask(sim)[0] == 200


def test_options_that_make_no_sense_are_said_to_the_parent():
    with start("-m", "ptubench.sim.child") as child:
        said, _ = child.communicate(b'{"model": "gpt-4.1", "ptu": 50, "deph": 3}\n', timeout=PATIENCE)

    assert json.loads(said) == {"error": "simulated deployment: unknown key `deph`; did you mean `depth`?"}
    assert child.returncode == 2


SERVE = (
    "from ptubench.sim.options import parse; from ptubench.sim.server import serve; serve(parse('gpt-4.1:50'), port=0)"
)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_cleanly_on_a_signal_and_cuts_off_what_runs(number):
    with start("-c", SERVE, stderr=subprocess.PIPE) as process:
        said = [process.stderr.readline().decode()]
        while "curl" not in said[-1]:
            said.append(process.stderr.readline().decode())
        port = int(said[-1].split("127.0.0.1:")[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as client:
            question = '{"model": "m", "stream": true, "messages": [{"role": "user", "content": "9000 tokens"}]}'
            client.sendall(
                f"POST {PLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(question)}\r\n\r\n{question}".encode()
            )
            client.recv(10)
            process.send_signal(number)
            _, rest = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert rest == b""


def test_it_says_what_it_simulates_and_what_of_it_is_assumed():
    said = welcome(parse("gpt-4.1:50,depth=10,seed=4,key_env=MY_KEY"), "http://127.0.0.1:8080", {"http_500": 0.01})

    assert said.splitlines() == [
        "SIMULATED PTU deployment: gpt-4.1-2025-04-14, 50 PTU, 150,000 normalized tokens a minute (catalogue of 2026-09-23)",
        "  depth = 10: depth of the bucket: seconds of full capacity that make 100 % [assumed]",
        "  estimate = 1000: output tokens reserved for a call without an output limit [assumed]",
        "  seed = 4: fixes the jitter of each prompt's latency and speed",
        "  latency = 0.25: time to the first token of a tiny prompt on an idle deployment [assumed]",
        "  prefill = 20000: uncached prompt tokens read per second before the first token [assumed]",
        "  load = 0.5: growth of the time to the first token from idle to full; 1 doubles it [assumed]",
        "  jitter = 0.1: spread of latency and speed: sigma of a lognormal; 0 is none [assumed]",
        "  cache_ttl = 300: how long an unused prompt prefix stays cached [assumed]",
        "  key_env = MY_KEY: environment variable with the key to ask for; default: no key",
        "  fault http_500: 1.0 % of the requests",
        "Listening on http://127.0.0.1:8080 until Ctrl-C. In another terminal:",
        "  ptubench run chat --endpoint http://127.0.0.1:8080/openai/v1/ --deployment gpt-4.1 --model gpt-4.1 --ptu 50 --key-env MY_KEY",
        """  curl -N http://127.0.0.1:8080/openai/v1/chat/completions -H "api-key: $MY_KEY" -H 'content-type: application/json' -d '{"model":"gpt-4.1","stream":true,"messages":[{"role":"user","content":"Answer in 20 tokens."}]}'""",
    ]


def test_faults_stand_before_it_and_play_their_share(tmp_path):
    with simulated(tmp_path, faults={"http_503": 0.5}, seed=1) as sim:
        statuses = [ask(sim)[0] for _ in range(10)]

    assert set(statuses) == {200, 503}


@pytest.mark.parametrize("faults", [{}, {"http_500": 0.1}])
def test_a_port_that_is_taken_is_the_users_error(faults):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--host 127.0.0.1 --port {port}: .*; name another address"):
            serve(parse("gpt-4.1:50"), port=port, faults=faults)


def test_a_log_that_cannot_be_written_is_the_users_error(tmp_path):
    with pytest.raises(UsageError, match=r"--log .*: No such file or directory; name a file in a folder"):
        serve(parse("gpt-4.1:50"), port=0, log=tmp_path / "missing" / "log")


def test_a_key_that_the_environment_lacks_is_the_users_error():
    with pytest.raises(UsageError, match="the environment has no PTUBENCH_NO_SUCH_KEY; set it"):
        serve(parse("gpt-4.1:50,key_env=PTUBENCH_NO_SUCH_KEY"), port=0)
