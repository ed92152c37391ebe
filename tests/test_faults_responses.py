"""Faults inside an answer of the Responses API: the same kinds, the same outcomes, in its own events."""

import asyncio
import json

import pytest

from faulty import FAULTY, PATIENT, TABLE, TOKENS, Row, assert_as_in_the_table, outcome, patience
from ptubench.client.connect import address
from ptubench.client.exchange import Exchange
from ptubench.client.timed import TimedClient
from ptubench.sim import answers, faults
from ptubench.sim.script import Ask, Pace
from ptubench.stream.apis import APIS
from servers import fault_server, front_server, healthy_server

PATH = "/openai/v1/responses"
DIFFERENT = {
    # Its last event says that the answer is whole, and tells the tokens; there is no [DONE] to do without.
    "no_done": Row("failed", "broken_stream", (), 200, None),
}
ASK = Ask(method="POST", target=PATH, headers={}, body=b"", connection=0, nth=0, arrived=0.0)


async def once(url, timeouts=PATIENT):
    client = TimedClient(
        url, address(url, ca_file=None, env={}), api=APIS["responses"], headers={}, timeouts=timeouts, stream=True
    )
    exchange = Exchange()
    await client.send(FAULTY, exchange)
    await client.close()
    return exchange


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_a_fault_has_the_same_outcome_as_in_chat_completions(kind):
    row = DIFFERENT.get(kind, TABLE[kind])
    with fault_server(kind, tokens=TOKENS, gap=0.001) as server:
        exchange = asyncio.run(once(server.base + PATH, patience(kind)))
        (played,) = server.log

    assert_as_in_the_table(row, exchange, played.contents)


def test_reasoning_and_the_reason_of_a_fault_are_told_too():
    with fault_server("reasoning", tokens=TOKENS, gap=0.005) as server:
        thought = asyncio.run(once(server.base + PATH)).answer
    with fault_server("error_event") as server:
        said = asyncio.run(once(server.base + PATH)).error

    assert thought.first_content < thought.first_output
    assert (thought.reasoning_tokens, thought.completion_tokens) == (TOKENS // 2, TOKENS)
    assert said == "server_error: The server had an error. Retry your request."


def test_every_event_is_named_as_its_type():
    pace = Pace(api="responses")
    plays = [answers.healthy(pace), answers.tool_calls(pace), answers.reasoning(pace), answers.odd_deltas(pace)]
    blocks = [
        block for play in plays for part in play if isinstance(part, bytes) for block in part.split(b"\n\n") if block
    ]

    for block in blocks:
        name, data = block.split(b"\n", 1)

        assert json.loads(data.removeprefix(b"data: "))["type"] == name.removeprefix(b"event: ").decode()


def test_the_front_answers_each_request_in_its_own_api():
    with (
        healthy_server() as upstream,
        front_server({"one_event": 1.0}, ("127.0.0.1", upstream.port), pace=Pace(tokens=3)) as (port, played),
    ):
        exchange = asyncio.run(once(f"http://127.0.0.1:{port}{PATH}"))

    assert (outcome(exchange), exchange.answer.completion_tokens, exchange.answer.content_events) == ("ok", 3, 1)
    assert [one.kind for one in played] == ["one_event"]


@pytest.mark.parametrize("path", ["/openai/v1/responses", "/v1/responses/", "/openai/responses?api-version=preview"])
def test_an_ask_knows_its_api_by_its_path(path):
    assert Ask(method="POST", target=path, headers={}, body=b"", connection=0, nth=0, arrived=0.0).api == "responses"


def test_a_script_speaks_as_it_is_asked():
    played = list(faults.script("no_usage")(ASK))

    assert any(b"response.completed" in part for part in played if isinstance(part, bytes))
