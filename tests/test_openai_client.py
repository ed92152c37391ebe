import asyncio
import json
import os
import subprocess

import openai
import pytest

from simulated import simulated

QUESTION = [{"role": "user", "content": "Tell me something, in 12 tokens."}]
KEY = "fake-key"


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    env = {**os.environ, "SIM_KEY": KEY}
    with simulated(tmp_path_factory.mktemp("sim"), env=env, key_env="SIM_KEY") as running:
        yield running


@pytest.fixture(params=["classic", "v1"])
def client(request, sim):
    if request.param == "classic":
        made = openai.AzureOpenAI(azure_endpoint=sim.url, api_key=KEY, api_version="2024-10-21")
    else:
        made = openai.OpenAI(base_url=f"{sim.url}/openai/v1/", api_key=KEY)
    with made:
        yield made


def test_the_official_client_streams_with_usage(client):
    stream = client.chat.completions.create(
        model="mine", messages=QUESTION, stream=True, stream_options={"include_usage": True}, max_tokens=50
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert len(text.split()) == 12
    assert chunks[-1].usage.completion_tokens == 12
    assert chunks[-1].usage.prompt_tokens == 7 + 6 + 1
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_the_official_client_reads_a_whole_answer(client):
    answer = client.chat.completions.create(model="mine", messages=QUESTION, max_completion_tokens=4)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == 7 + 6 + 1 + 4
    assert answer.model == "gpt-4.1-2025-04-14"


def test_the_official_client_raises_its_own_errors(client):
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: ignore_eos"):
        client.chat.completions.create(model="mine", messages=QUESTION, extra_body={"ignore_eos": True})
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="mine", messages=QUESTION)


def test_the_official_client_streams_a_response(client):
    with client.responses.create(model="mine", input=QUESTION, stream=True, max_output_tokens=50) as stream:
        events = list(stream)
    completed = events[-1]

    assert "".join(event.delta for event in events if event.type == "response.output_text.delta").split() == (
        completed.response.output_text.split()
    )
    assert (completed.type, completed.response.status) == ("response.completed", "completed")
    assert (completed.response.usage.input_tokens, completed.response.usage.output_tokens) == (7 + 6 + 1, 12)
    assert completed.response.usage.input_tokens_details.cached_tokens == 0


def test_the_official_clients_own_stream_helper_follows_a_response(client):
    with client.responses.stream(model="mine", input=QUESTION) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()

    assert kinds.count("response.output_text.delta") == 12
    assert (final.status, len(final.output_text.split())) == ("completed", 12)


def test_the_official_client_is_told_that_the_limit_ended_a_response(client):
    with client.responses.create(model="mine", input="90 tokens", stream=True, max_output_tokens=16) as stream:
        last = list(stream)[-1]

    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")
    assert len(last.response.output_text.split()) == 16


def test_the_official_client_reads_a_whole_response(client):
    answer = client.responses.create(model="mine", instructions="Be brief.", input="Something, in 12 tokens.")

    assert len(answer.output_text.split()) == 12
    assert answer.usage.total_tokens == 7 + 2 + 4 + 1 + 12
    with pytest.raises(openai.BadRequestError, match="Expected a value >= 16, but got 5 instead"):
        client.responses.create(model="mine", input="Hi.", max_output_tokens=5)


def test_the_official_client_is_shown_a_summary_of_the_reasoning_and_a_429_inside_the_stream(tmp_path):
    with (
        simulated(tmp_path, model="o3", ptu=1, reasoning=5, depth=0.5, in_band=True) as sim,
        openai.OpenAI(base_url=f"{sim.url}/openai/v1/", api_key=KEY, max_retries=0) as client,
    ):
        thought = list(client.responses.create(model="o3", input="Hi.", reasoning={"summary": "auto"}, stream=True))
        refused = list(client.responses.create(model="o3", input="Hi.", stream=True))

    assert sum(event.type == "response.reasoning_summary_text.delta" for event in thought) == 5
    assert thought[-1].response.output[0].summary[0].text.split() == ["the", "river", "runs", "past", "quiet"]
    assert (refused[-1].type, refused[-1].response.error.code) == ("response.failed", "rate_limit_exceeded")


def test_the_official_client_lists_the_model(sim):
    with openai.OpenAI(base_url=f"{sim.url}/openai/v1/", api_key=KEY) as client:
        assert [model.id for model in client.models.list()] == ["gpt-4.1"]


def test_the_official_async_client_streams_many_at_once(sim):
    async def one(client):
        stream = await client.chat.completions.create(model="mine", messages=QUESTION, stream=True)
        return sum([bool(chunk.choices and chunk.choices[0].delta.content) async for chunk in stream])

    async def many():
        async with openai.AsyncOpenAI(base_url=f"{sim.url}/openai/v1/", api_key=KEY) as client:
            return await asyncio.gather(*(one(client) for _ in range(20)))

    assert asyncio.run(many()) == [12] * 20


def test_the_official_client_retries_a_429_when_the_deployment_says_so(tmp_path):
    # A bucket of 0.2 s, overshot by the first call's reservation by about half a second.
    with (
        simulated(tmp_path, ptu=1, ratio=1, tpm_per_ptu=60_000, depth=0.2, tps=100) as sim,
        openai.AzureOpenAI(azure_endpoint=sim.url, api_key=KEY, api_version="2024-10-21", max_retries=2) as client,
    ):
        stream = client.chat.completions.create(model="mine", messages=QUESTION, stream=True, max_tokens=700)
        next(iter(stream))
        answer = client.chat.completions.create(model="mine", messages=QUESTION, max_tokens=5)
        stream.close()
        entries = sorted(sim.log(3), key=lambda entry: entry["arrived"])
    throttled, retried = entries[1:3]

    assert answer.usage.completion_tokens == 5
    assert (throttled["status"], retried["status"]) == (429, 200)
    assert retried["arrived"] - throttled["arrived"] >= throttled["retry_after_ms"] / 1000


@pytest.mark.parametrize("path", ["openai/v1", "openai/deployments/mine"])
def test_curl_gets_a_stream(sim, path):
    body = json.dumps({"model": "mine", "stream": True, "messages": QUESTION})
    url = f"{sim.url}/{path}/chat/completions?api-version=2024-10-21"
    done = subprocess.run(
        [
            "curl",
            "-sN",
            "--noproxy",
            "*",
            url,
            "-H",
            f"api-key: {KEY}",
            "-H",
            "content-type: application/json",
            "-d",
            body,
        ],
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.endswith(b"data: [DONE]\n\n")
    assert done.stdout.count(b'"content":" ') == 12
