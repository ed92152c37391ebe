"""Tokens are renewed ahead of their end: by the real code on a virtual clock, and by a whole run with its workers."""

import asyncio
import base64
import json
import re
import time
from functools import partial
from itertools import count
from types import SimpleNamespace

import httpx2
import pytest

import virtual
from ptubench import commands
from ptubench.client import auth
from ptubench.engine.generator import Load, drain, offer
from ptubench.engine.keys import Keys, kept_fresh
from ptubench.errors import TargetRefused
from ptubench.load.plan import make_plan
from ptubench.record import Attempt
from ptubench.results import store
from ptubench.sim import answers
from ptubench.sim.script import Pace, chunked, document
from ptubench.target.model import Target, TargetOptions
from ptubench.virtual import clock
from ptubench.workload.model import OpenLoop, Stage
from running import calmly
from servers import script_server

HOURS = 7200.0
LIFE = 300.0
URL = "https://r.openai.azure.com/openai/v1/chat/completions"
TARGET = Target(kind="azure", style="v1", endpoint=URL, url=URL, deployment="d", body_model="d", auth="entra")


class Loop(clock.Loop):
    """Threads take virtual time: what is handed to one is done after `latency`."""

    latency = 2.0

    def run_in_executor(self, _executor, work, *args):
        async def after():
            await asyncio.sleep(self.latency)
            return work(*args)

        return self.create_task(after())


class Credential:
    """Entra for tests: tokens that say when they end; cached ones are given again, and sign-ins can fail."""

    def __init__(self, wall, *, life=LIFE, fails=lambda _: False, cached=0.0) -> None:
        self._wall = wall
        self._life = life
        self._fails = fails
        self._cached = cached
        self._last = SimpleNamespace(token="", expires_on=0.0)
        self.asked = []

    def get_token(self, *scopes):
        assert scopes == ("https://ai.azure.com/.default",)
        now = self._wall()
        self.asked.append(now)
        if self._fails(len(self.asked)):
            raise RuntimeError("the sign-in is out of order")
        if self._last.expires_on - now <= self._cached or not self._cached:
            ends = now + self._life
            self._last = SimpleNamespace(token=f"fake-{len(self.asked)}-{ends}", expires_on=ends)
        return self._last


class Guarded(virtual.Service):
    """Answers who has a token that has not ended, and notes what each had left."""

    def __init__(self, rows) -> None:
        super().__init__([[virtual.Say()]] * rows)
        self.left = []

    async def handle_async_request(self, request):
        ends = float(request.headers["authorization"].rpartition("-")[2])
        self.left.append(ends - asyncio.get_running_loop().wall())
        return await super().handle_async_request(request)


def two_hours(*, workers=1, rate=1.0, seconds=HOURS, credential=None):
    """A load with renewed tokens on the virtual clock: its records, the service, the credential, what was said."""
    workload = virtual.workload(OpenLoop(stages=(Stage(value=rate, seconds=seconds),)), duration=seconds)
    plan = make_plan(workload)
    service = Guarded(plan.count)
    lines, said = [], []

    async def main():
        loop = asyncio.get_running_loop()
        asking = (credential or Credential)(loop.wall)
        keys = Keys({}, partial(auth.bearer, asking, TARGET), said.append, wall=loop.wall)
        await keys.renew()
        clients = [virtual.client(service) for _ in range(workers)]

        def tell(headers):
            for client in clients:
                client.authorize(headers)

        async def one(worker):
            load = Load(
                plan=plan,
                body=lambda request: json.dumps({"stream": True, "messages": f"row {request.index}"}).encode(),
                client=clients[worker],
                divert=None,
                sink=lines.append,
                zero=zero,
                worker=worker,
                workers=workers,
                max_in_flight=100,
                clock=loop.time,
                wall=loop.wall,
            )
            await offer(load)
            await drain(load, workload.drain)

        tell(keys.headers)
        zero = loop.time()
        async with kept_fresh((keys, tell)):
            await asyncio.gather(*map(one, range(workers)))
        return asking

    with asyncio.Runner(loop_factory=Loop) as runner:
        asking = runner.run(main())
    return SimpleNamespace(lines=lines, left=service.left, asked=asking.asked, said=said)


@pytest.fixture(scope="module")
def hours():
    return two_hours(workers=3)


def test_in_two_hours_of_tokens_that_live_five_minutes_no_attempt_has_one_that_has_ended(hours):
    assert len(hours.left) == len(hours.lines) > 6000
    assert {line.outcome for line in hours.lines} == {"ok"}
    assert min(hours.left) > LIFE / 4
    assert hours.said == []


def test_and_no_request_is_late_for_it(hours):
    assert max(line.taken - line.scheduled for line in hours.lines) < 0.002


def test_a_token_is_asked_for_as_often_as_it_must_be_and_not_at_every_look(hours):
    assert HOURS / LIFE <= len(hours.asked) <= 2 * HOURS / LIFE + 2


def test_a_token_that_lives_an_hour_is_renewed_five_minutes_before_its_end():
    found = two_hours(rate=0.1, credential=lambda wall: Credential(wall, life=3600.0))

    assert len(found.asked) == 3
    assert min(found.left) > 290


def test_a_credential_that_gives_its_old_token_again_is_asked_again_before_that_one_ends():
    found = two_hours(rate=0.5, credential=lambda wall: Credential(wall, life=3600.0, cached=60.0))

    assert min(found.left) > 15
    assert len(found.asked) < 15


def test_a_renewal_that_fails_is_said_once_and_tried_again_and_the_valid_token_goes_on():
    found = two_hours(seconds=1200.0, credential=lambda wall: Credential(wall, fails=lambda n: n in (2, 3, 4)))

    assert {line.outcome for line in found.lines} == {"ok"}
    assert min(found.left) > 0
    assert len(found.said) == 2
    assert re.fullmatch(
        r"warning: Entra gave no token for https://ai\.azure\.com/\.default: the sign-in is out of order; .*; "
        r"the old token holds for 2m\d+s, and until then another one is asked for",
        found.said[0],
    )
    assert found.said[1] == "the token was renewed after all"


def test_a_sign_in_that_is_out_of_order_for_long_is_asked_every_few_seconds_and_ends_nothing():
    found = two_hours(seconds=900.0, credential=lambda wall: Credential(wall, fails=lambda n: n > 1))

    assert max(later - sooner for sooner, later in zip(found.asked[1:], found.asked[2:], strict=False)) < 40
    assert len(found.asked) < 200
    assert min(found.left) < -500
    assert len(found.said) == 1


def test_a_token_that_was_renewed_while_its_request_was_under_way_is_hidden_all_the_same():
    class Repeating(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await asyncio.sleep(30)
            return httpx2.Response(500, content=said(request.headers["authorization"]))

    async def said(token):
        yield json.dumps({"error": {"code": "500", "message": f"failed for {token}"}}).encode()

    workload = virtual.workload(OpenLoop(stages=(Stage(value=1.0, seconds=2.0),)), duration=2.0)
    head = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9"
    lines = []

    async def main(loop):
        client = virtual.client(Repeating())
        client.authorize({"authorization": f"Bearer {head}.old-claims.old-signature"})
        load = Load(
            plan=make_plan(workload),
            body=lambda _: b"{}",
            client=client,
            divert=None,
            sink=lines.append,
            zero=0.0,
            max_in_flight=10,
            clock=loop.time,
        )
        await offer(load)
        client.authorize({"authorization": f"Bearer {head}.new-claims.new-signature"})
        await drain(load, workload.drain)

    clock.run(main)

    assert lines
    assert {line.error for line in lines} == {"500: failed for Bearer (not shown)"}


def test_a_sign_in_that_hangs_is_given_up_and_tried_again():
    class Slow(Loop):
        latency = 1000.0

    async def main():
        asking = Credential(asyncio.get_running_loop().wall)
        keys = Keys({}, partial(auth.bearer, asking, TARGET), print, wall=asyncio.get_running_loop().wall)
        with pytest.raises(TargetRefused) as raised:
            await keys.renew()
        return str(raised.value), asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Slow) as runner:
        said, took = runner.run(main())

    assert said == "Entra gave no token within 60 s; try `az login`, or use a key"
    assert took == pytest.approx(60)


def test_a_target_with_a_key_has_nothing_to_renew():
    async def main():
        keys = Keys({"api-key": "k"}, None, print)
        await keys.renew()
        await asyncio.wait_for(keys.keep(print), 20)
        return keys.headers

    assert asyncio.run(main()) == {"api-key": "k"}


# --- a whole run: parent, pipe, worker processes, connections


def test_every_worker_of_a_run_has_a_token_that_has_not_ended_for_both_of_its_targets(tmp_path, monkeypatch):
    number = count()

    def guarded(ask):
        if ask.method == "GET":
            return [document(404, b"")]
        if float(ask.headers["authorization"].rpartition("-")[2]) < time.time():
            return answers.refused(401, "401", "the token has ended", {})
        if b'"first"' in ask.body and next(number) % 3:  # not every other one: those would all be of one worker
            return answers.throttled(retry_after_ms="100")
        return chunked(answers.healthy(Pace(tokens=3, ttft=0.0, gap=0.0)))

    credential = Credential(time.time, life=2.5)
    monkeypatch.setattr(auth, "default_credential", lambda _authority: credential)
    (tmp_path / "w.yaml").write_text(
        json.dumps(
            {
                "name": "w",
                "prompt_tokens": 40,
                "completion_tokens": 3,
                "load": {"rate": "20/s"},
                "duration": "5s",
                "warmup": "0s",
                "throttling": {"on_429": "divert", "divert_to": {"deployment": "second"}},
            }
        )
    )

    def once():
        said = []
        with script_server(guarded) as server:
            options = commands.RunOptions(
                workload=str(tmp_path / "w.yaml"),
                target=TargetOptions(endpoint=f"{server.base}/openai/v1/", deployment="first", auth="entra"),
                workers="2",
                results=tmp_path,
            )
            outcome = commands.run(commands.prepare(options, {}), say=said.append, watch=lambda _: None)
        attempts = [line for line in store.lines(outcome.file) if isinstance(line, Attempt)]
        return outcome, said, attempts, [played.ask for played in server.log if played.ask.method == "POST"]

    # A machine that stalls for longer than a token of 2.5 s has left lets it end on the way: then once more.
    outcome, said, attempts, asks = calmly(once, lambda found: {attempt.status for attempt in found[2]} == {200, 429})
    tokens = {
        name: {ask.headers["authorization"] for ask in asks if name in ask.body} for name in (b"first", b"second")
    }

    assert len(attempts) > 50
    assert {(attempt.worker, attempt.diverted) for attempt in attempts} == {
        (0, False),
        (0, True),
        (1, False),
        (1, True),
    }
    assert {attempt.status for attempt in attempts if attempt.diverted} == {200}
    assert {attempt.status for attempt in attempts} == {200, 429}
    assert [len(seen) >= 3 for seen in tokens.values()] == [True, True]
    assert b"fake-" not in outcome.file.read_bytes()
    assert said == []


# --- a ready token


def web_token(**claims):
    """Not signed: nobody here checks that."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"


@pytest.mark.parametrize(
    ("token", "ends"),
    [
        (web_token(exp=1_800_000_000), 1_800_000_000),
        (web_token(aud="https://ai.azure.com"), None),
        (web_token(exp="soon"), None),
        ("opaque", None),
        ("a.b.c", None),
        ("a.ÄÖ.c", None),
        ("", None),
    ],
)
def test_a_token_tells_when_it_ends_or_does_not(token, ends):
    assert auth.ends(token) == ends
