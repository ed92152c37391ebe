"""Retries are those of the official client: the real `AsyncOpenAI` and ptubench's generator against the same scripts.

Both run on a virtual clock over one transport without sockets, so a wait of two minutes takes no time and is exact.
"""

import asyncio
import contextlib
import itertools
from types import SimpleNamespace

import httpx2
import openai
import pytest

import virtual
from ptubench.engine import retry
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Throttling, Workload
from virtual import Say

URL = "http://service.invalid/v1"
TICK = 0.002  # a timer's millisecond, and the generator's rounding up to it
GOOD = Say()

MILLISECONDS = (None, "1500", "20", "0", "-5", "120000", "120001", "1e999", "inf", "nan", "soon", " 700 ", "1_000", "")
SECONDS = (None, "3", "0.25", "0", "-1", "120", "121", "9" * 60, "infinity", "-inf", "NaN", "later", "3, 3", "")
SHOULD = (None, "true", "false", "True", "")
STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 499, 500, 502, 503, 504, 529)
FAULTS = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ReadTimeout,
    httpx2.WriteError,
    httpx2.ReadError,
    httpx2.RemoteProtocolError,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
)


def headers(ms, seconds, should=None):
    given = {"retry-after-ms": ms, "retry-after": seconds, "x-should-retry": should}
    return {name: value for name, value in given.items() if value is not None}


ROWS = {
    **{
        f"429 ms={ms!r} s={seconds!r}": [Say(429, headers(ms, seconds)), GOOD]
        for ms, seconds in itertools.product(MILLISECONDS, SECONDS)
    },
    **{
        f"{status} s={seconds!r} should={should!r}": [Say(status, headers(None, seconds, should)), GOOD]
        for status, seconds, should in itertools.product(STATUSES, (None, "2", "500"), SHOULD)
    },
    **{f"always {status}": [Say(status)] for status in STATUSES},
    **{f"always 429 with {ms} ms": [Say(429, headers(ms, None))] for ms in ("250", "119999", "120001")},
    **{f"a date in {date} s": [Say(429, date=date), GOOD] for date in (-3600, -1, 5, 60, 119, 125, 86_400)},
    "a date behind ms": [Say(429, {"retry-after-ms": "900"}, date=30), GOOD],
    "a date behind bad ms": [Say(429, {"retry-after-ms": "x"}, date=30), GOOD],
    "a date behind 0 ms": [Say(429, {"retry-after-ms": "0"}, date=30), GOOD],
    "odd dates": [
        Say(429, {"retry-after": "Mon, 99 Foo 99999"}),
        Say(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 -0730"}),
        GOOD,
    ],
    "the same header twice": [Say(429, [("retry-after", "4"), ("retry-after", "4")]), GOOD],
    "ms twice": [Say(429, [("retry-after-ms", "4"), ("retry-after-ms", "4"), ("retry-after", "7")]), GOOD],
    **{f"{fault.__name__} once": [Say(fault=fault), GOOD] for fault in FAULTS},
    **{f"{fault.__name__} always": [Say(fault=fault)] for fault in FAULTS},
    "a slow timeout, then 429": [Say(fault=httpx2.ReadTimeout, takes=500), Say(429, headers("333", None)), GOOD],
    "503, 429, good": [Say(503), Say(429, headers(None, "2")), GOOD],
    "429, 400": [Say(429, headers("10", None)), Say(400)],
    "429, told not to": [Say(429, headers("10", None)), Say(429, headers("10", None, "false"))],
    "429 with a broken body": [Say(429, headers("40", None), broken=True), GOOD],
    "good, broken in its body": [Say(broken=True), GOOD],
    "good": [GOOD],
}
NAMES, SCRIPTS = list(ROWS), list(ROWS.values())
EVERY = 1.0
"""Seconds between two rows."""


async def by_the_official_client(service, rows, max_retries, *, stream=True):
    async def one(row):
        await asyncio.sleep(row * EVERY)
        with contextlib.suppress(openai.OpenAIError, httpx2.ReadError):
            await ask(row)

    async def ask(row):
        messages = [{"role": "user", "content": f"row {row}"}]
        answer = await client.chat.completions.create(model="m", messages=messages, stream=stream)
        if stream:
            async for _ in answer:
                pass

    async with (
        httpx2.AsyncClient(transport=service) as http,
        openai.AsyncOpenAI(api_key="fake", base_url=URL, http_client=http, max_retries=max_retries) as client,
    ):
        await ask(rows)  # the first time it asks for its platform in a thread: not while the clock may jump
        await asyncio.gather(*(one(row) for row in range(rows)))


def by_ptubench(service, rows, max_retries, *, stream=True):
    workload = Workload(
        name="w",
        classes=(Class(prompt=Fixed(tokens=32), completion=Fixed(tokens=8)),),
        load=OpenLoop(stages=(Stage(value=1 / EVERY, seconds=rows * EVERY),), arrivals="constant"),
        duration=rows * EVERY,
        warmup=0.0,
        drain=10_000.0,
        stream=stream,
        throttling=Throttling(on_429="retry", max_retries=max_retries),
    )
    return virtual.generate(workload, service)


@pytest.fixture(scope="module", params=[2, 0, 6], ids=lambda retries: f"max_retries={retries}")
def both(request):
    return played(SCRIPTS, request.param)


def played(scripts, max_retries, *, stream=True):
    """Per row: when the requests of the official client came, and those of ptubench; and ptubench's records."""
    theirs, ours = (virtual.Service([*scripts, [GOOD]]) for _ in range(2))

    async def official():
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openai._base_client, "time", SimpleNamespace(time=loop.wall))
            await by_the_official_client(theirs, len(scripts), max_retries, stream=stream)

    virtual.run(official)
    attempts = by_ptubench(ours, len(scripts), max_retries, stream=stream)
    return theirs.arrived[:-1], ours.arrived[:-1], attempts


def gaps(arrived):
    return [later - earlier for earlier, later in itertools.pairwise(arrived)]


def test_as_many_attempts_as_the_official_client_for_every_row(both):
    theirs, ours, _ = both
    counts = {name: (len(theirs[row]), len(ours[row])) for row, name in enumerate(NAMES)}

    assert {name: count for name, count in counts.items() if count[0] != count[1]} == {}


def test_the_same_waits_as_the_official_client_for_every_row(both):
    theirs, ours, _ = both
    off = {}
    for row, name in enumerate(NAMES):
        for number, (their, our) in enumerate(zip(gaps(theirs[row]), gaps(ours[row]), strict=True)):
            script = SCRIPTS[row]
            say = script[min(number, len(script) - 1)]
            top = min(0.5 * 2**number, 8.0)
            drawn = all(0.75 * top - TICK <= gap - say.takes <= top + TICK for gap in (their, our))
            # A date is of whole seconds, and the rows are not begun at the same fraction of one.
            if not drawn and abs(their - our) > TICK + (say.date is not None):
                off[name] = (number, their, our)

    assert off == {}


def test_the_waits_named_by_the_service_are_waited_to_the_millisecond(both):
    theirs, ours, attempts = both
    if len(attempts) == len(NAMES):
        return  # without retries
    row = NAMES.index("429 ms='1500' s='3'")

    assert gaps(ours[row]) == pytest.approx([1.75], abs=TICK)
    assert gaps(theirs[row]) == pytest.approx([1.75], abs=TICK)
    assert [a.waited for a in attempts if a.index == row] == [0, pytest.approx(1.5, abs=TICK)]


def test_the_attempts_are_records_of_their_own_and_the_last_says_whether_it_gave_up(both):
    _, ours, attempts = both
    by_row = {row: [a for a in attempts if a.index == row] for row in range(len(NAMES))}
    limit = max(len(records) for records in by_row.values())

    for row, name in enumerate(NAMES):
        records = by_row[row]
        assert [a.attempt for a in records] == list(range(len(ours[row]))), name
        assert {a.scheduled for a in records} == {row * EVERY}
        assert len({a.taken for a in records}) == 1
        assert not any(a.gave_up for a in records[:-1])
    assert {name: by_row[NAMES.index(name)][-1].gave_up for name in ("always 429", "always 500", "always 400")} == {
        "always 429": True,
        "always 500": True,
        "always 400": False,
    }
    assert by_row[NAMES.index("always 429 with 120001 ms")][-1].gave_up
    assert len(by_row[NAMES.index("always 429 with 120001 ms")]) == 1
    assert len(by_row[NAMES.index("always 429")]) == limit
    assert not by_row[NAMES.index("429, told not to")][-1].gave_up or limit == 1
    assert not by_row[NAMES.index("good, broken in its body")][-1].gave_up


def test_an_answer_that_has_begun_is_never_asked_for_again_though_the_official_client_does_so_without_streaming():
    scripts = [[Say(broken=True), GOOD], [Say(429, headers("40", None)), GOOD], [Say(500), GOOD]]
    theirs, ours, _ = played(scripts, 2, stream=False)

    assert [len(arrived) for arrived in theirs] == [2, 2, 2]
    assert [len(arrived) for arrived in ours] == [1, 2, 2]


def test_the_numbers_are_the_official_clients_own():
    assert retry.LONGEST_WAIT == openai._constants.MAX_RETRY_AFTER_DELAY
    assert openai._constants.INITIAL_RETRY_DELAY == retry.FIRST_BACKOFF
    assert openai._constants.MAX_RETRY_DELAY == retry.MOST_BACKOFF
    assert Throttling().max_retries == openai.DEFAULT_MAX_RETRIES
