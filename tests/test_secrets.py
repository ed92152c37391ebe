"""A key goes into the requests that it is for, and nowhere else: not to another server, not into a file, a message or a process list."""

import asyncio
import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.client.connect import address
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.errors import UsageError
from ptubench.secret import hide
from ptubench.sim import answers
from ptubench.sim.script import Pace, chunked, document
from ptubench.target.model import TargetOptions
from ptubench.target.resolve import resolve_target
from ptubench.workload.model import Timeouts
from running import environment
from servers import UNAUTHENTICATED, Authority, healthy_server, proxy, script_server

AZURE, OPENAI, OTHER, GATEWAY, TOKEN = (
    f"marked-{name}-4f1c9e07a2" for name in ("azure", "openai", "other", "gateway", "token")
)
READY = {"AZURE_OPENAI_API_KEY": "", "AZURE_OPENAI_AD_TOKEN": TOKEN}
PASSWORD = "marked-proxy-4f1c9e07a2"
MARKS = (b"marked-", base64.b64encode(f"user:{PASSWORD}".encode())[8:-4])
KEYS = {"AZURE_OPENAI_API_KEY": AZURE, "OPENAI_API_KEY": OPENAI, "OTHER_KEY": OTHER, "GATEWAY_KEY": GATEWAY}
WORKLOAD = {
    "name": "kept",
    "prompt_tokens": 40,
    "completion_tokens": 8,
    "load": {"rate": "20/s", "arrivals": "constant"},
    "duration": "1s",
    "warmup": "0s",
    "drain": "2s",
}
CLIENT = """
import os
async def tells(call):
    print("to standard output")
    if call.body["messages"][0]["content"] != " Say hello.":
        raise RuntimeError(f"I sent {dict(call.headers)}")
    yield "hello"
async def dies(call):
    if call.body["messages"][0]["content"] != " Say hello.":
        os._exit(7)
    yield "hello"
"""
PATIENCE = 60


@dataclass(frozen=True)
class Ran:
    """A finished command: its exit code, and all that it left behind."""

    code: int
    folder: Path

    @property
    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def left(self) -> dict[str, bytes]:
        """Every file in its folder but those that the test has put there."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
        read = {path: path.read_bytes() for path in files}
        return {path.name: gzip.decompress(raw) if path.suffix == ".gz" else raw for path, raw in read.items()}


def start(folder, *options, env=None, command="run", **keys):
    folder.mkdir()
    (folder / "workload.yaml").write_text(json.dumps({**WORKLOAD, **keys}))
    (folder / "client.py").write_text(CLIENT)
    arguments = [command, *(("workload.yaml",) if command == "run" else ()), *map(str, options)]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ptubench", *arguments],
            cwd=folder,
            env=environment(**KEYS | (env or {})),
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
        )
    return process, folder


def command_lines():
    """The command lines of all processes, where there is a list of them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue  # it has ended


def finish(started):
    """Wait for all, looking at the process list until the last has ended."""
    shown, until = set(), time.monotonic() + PATIENCE
    while any(process.poll() is None for process, _ in started.values()) and time.monotonic() < until:
        shown.update(line for line in command_lines() if b"marked-" in line)
        time.sleep(0.05)
    return {name: Ran(process.wait(1), folder) for name, (process, folder) in started.items()}, shown


def echoing(*, first_is_good=True):
    """A server that repeats the secrets that it was sent, whole and so that they are cut, from the second request on."""
    number = count()

    def script(ask):
        if next(number) == 0 and first_is_good:
            return chunked(answers.healthy(Pace()))
        said = "; ".join(f"{name}: {value}" for name, value in ask.headers.items() if "marked-" in value)
        place = said.index("marked-")
        cut = {most: "x" * (most - place - 12) + said for most in (200, 295)}
        body = json.dumps({"error": {"code": "401", "message": cut[295]}}).encode()
        return [document(401, body, headers={"apim-request-id": said, "x-request-id": cut[200]})]

    return script


def simulating(ask):
    """One that says it is simulated, so that it is asked for its account."""
    if ask.method == "GET":
        return [document(404, b"")]
    return chunked(answers.healthy(Pace()), {"x-ptubench-simulated": "gpt-4.1:50"})


class World:
    """All runs of this file, at once."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        trusting = ("--ca-file", authority.file(folder))
        with (
            script_server(simulating) as self.azure,
            healthy_server() as self.openai,
            healthy_server() as self.elsewhere,
            healthy_server() as self.by_token,
            script_server(
                [document(302, b"", headers={"location": f"{self.elsewhere.base}/v1/chat/completions"})]
            ) as away,
            healthy_server(tls=authority.serving()) as secure,
            script_server(echoing()) as echo,
            script_server(echoing()) as echo_httpx,
            script_server(echoing(first_is_good=False)) as refusing,
            proxy() as self.proxy,
            proxy(UNAUTHENTICATED) as closed_proxy,
        ):
            on_openai = ("--endpoint", f"{self.openai.base}/v1", "--deployment", "m")
            gateway = ("--header", "X-Gateway: env:GATEWAY_KEY")
            probe = ("--dry-run", "--probe")
            started = {
                name: start(folder / name, *options, **more)
                for name, options, more in (
                    ("azure", (*azure(self.azure.base), *gateway, "--gzip"), {}),
                    ("openai", (*on_openai, *probe, "--json"), {}),
                    ("echo", (*azure(echo.base), *gateway), {}),
                    ("echo httpx", (*azure(echo_httpx.base), "--json"), {"client": "httpx"}),
                    ("token", (*azure(self.by_token.base), *gateway), {"env": READY}),
                    ("401 token", azure(refusing.base, "--auth", "token"), {"env": READY}),
                    ("401", azure(refusing.base, "--key-env", "OTHER_KEY"), {}),
                    ("away", azure(away.base), {}),
                    ("proxy", (*azure(secure.base), *trusting, *probe), {"env": behind(self.proxy)}),
                    ("proxy 407", (*azure(secure.base), *trusting), {"env": behind(closed_proxy)}),
                    ("custom", (*azure(self.azure.base), "--json"), {"client": "client:tells"}),
                    ("lost worker", (*azure(self.azure.base), "--json"), {"client": "client:dies"}),
                    ("simulated", ("--simulate", "gpt-4.1:50,latency=0,key_env=OTHER_KEY", "--json"), {}),
                    ("dry run", (*azure("https://r.openai.azure.com"), *gateway, "--dry-run"), {}),
                )
            }
            self.ran, self.shown = finish(started)


def azure(base, *more):
    return ("--endpoint", f"{base}/openai/v1/", "--deployment", "gpt-4.1", *more)


def behind(its_proxy):
    return {"HTTPS_PROXY": f"http://user:{PASSWORD}@127.0.0.1:{its_proxy.port}"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("secrets"))


RAN = None
"""A run that came to its end: its verdict decides, and where the server refused all a check.

So many at once may be too much for the machine, and that is no leak.
"""
CODES = {
    "azure": RAN,
    "openai": (0,),
    "echo": RAN,
    "echo httpx": RAN,
    "token": RAN,
    "401 token": (5,),
    "401": (5,),
    "away": (5,),
    "proxy": (0,),
    "proxy 407": (5,),
    "custom": (4,),
    "lost worker": (4,),
    "simulated": RAN,
    "dry run": (0,),
}


@pytest.mark.parametrize("name", CODES)
def test_a_run_ends_as_it_should_and_leaves_no_secret_in_anything_that_it_writes(world, name):
    ran = world.ran[name]
    left = ran.left

    invalid = re.search('verdict +INVALID|"verdict": ?"invalid"', (ran.folder / "stdout").read_text())
    expected = CODES[name] if CODES[name] is not RAN else (4,) if invalid else (0, 3)
    assert ran.code in expected, ran.said
    assert len(left) >= 3
    assert [(file, mark) for file, raw in left.items() for mark in MARKS if mark in raw] == []


def test_no_secret_is_in_the_process_list(world):
    assert world.shown == set()


def secrets_in(asks):
    """Which headers carried a secret, and what."""
    return {(name, value) for ask in asks for name, value in ask.headers.items() if "marked-" in value}


def test_azure_gets_the_azure_key_and_the_header_that_was_asked_for_and_nothing_else(world):
    asks = [played.ask for played in world.azure.log if played.ask.method == "POST"]

    assert len(asks) >= 20
    assert secrets_in(asks) == {("api-key", AZURE), ("x-gateway", GATEWAY)}
    assert not any(b"marked-" in ask.body or "marked-" in ask.target for ask in asks)


def test_the_account_of_a_simulated_deployment_is_asked_for_without_a_key(world):
    asks = [played.ask for played in world.azure.log if played.ask.method == "GET"]

    assert {ask.path for ask in asks} == {"/simulator/state"}
    assert secrets_in(asks) == set()


def test_an_openai_compatible_server_gets_its_own_key_and_not_azures(world):
    assert secrets_in(played.ask for played in world.openai.log) == {("authorization", f"Bearer {OPENAI}")}


def test_a_ready_token_goes_to_azure_as_a_bearer_token_in_place_of_the_key(world):
    assert secrets_in(played.ask for played in world.by_token.log if played.ask.method == "POST") == {
        ("authorization", f"Bearer {TOKEN}"),
        ("x-gateway", GATEWAY),
    }


def test_a_redirect_carries_nothing_to_another_server(world):
    assert world.elsewhere.log == []
    assert "a redirect" in world.ran["away"].said


def test_a_proxy_gets_its_own_password_and_not_the_key(world):
    assert {headers["proxy-authorization"] for headers in world.proxy.headers} == {
        "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    }
    assert not any("marked-" in value for headers in world.proxy.headers for value in headers.values())


def test_a_report_of_the_way_names_the_proxy_without_its_password(world):
    said = world.ran["proxy"].left["stdout"].decode()

    assert f"through the proxy 127.0.0.1:{world.proxy.port}\nround trip to the proxy " in said
    assert ", included in TTFT, as is the way beyond it" in " ".join(said.split())


@pytest.mark.parametrize("name", ["echo", "echo httpx", "401", "401 token", "custom"])
def test_what_is_repeated_of_a_secret_is_hidden_and_the_rest_is_kept(world, name):
    said = b"".join(world.ran[name].left.values())

    assert b"(not shown)" in said
    assert {"custom": b"I sent", "401 token": b"authorization:"}.get(name, b"api-key:") in said


REFUSED = [
    (TargetOptions(endpoint="http://192.0.2.1/openai/v1", deployment="m"), {}, "would cross the network"),
    (
        TargetOptions(endpoint="http://192.0.2.1/openai/v1", deployment="m", auth="token", key_env="OTHER_KEY"),
        {},
        "would",
    ),
    (
        TargetOptions(
            endpoint="http://192.0.2.1/v1", deployment="m", header=("X-Gateway: env:GATEWAY_KEY",), auth="none"
        ),
        {},
        "would cross the network",
    ),
    (TargetOptions(), {"endpoint": "https://example.org/openai/v1", "deployment": "m"}, "only a workload file names"),
    (
        TargetOptions(),
        {
            "endpoint": "https://example.org/v1",
            "deployment": "m",
            "headers": {"X-Gateway": "env:GATEWAY_KEY"},
            "auth": "none",
        },
        "only a workload file names",
    ),
    (TargetOptions(endpoint=f"https://{AZURE}@h/v1", deployment="m"), {}, "user name or password"),
    (TargetOptions(endpoint=f"https://h/v1?key={AZURE}", deployment="m"), {}, "only `api-version` is understood"),
    (
        TargetOptions(endpoint="https://h/v1", deployment="m", header=(f"X: {GATEWAY}",)),
        {},
        "must come from an environment",
    ),
    (TargetOptions(endpoint="https://h/v1", deployment="m", header=(GATEWAY,)), {}, "not of the form"),
    (TargetOptions(endpoint="https://h/v1", deployment="m", key_env=AZURE), {}, "and never the key itself"),
]


@pytest.mark.parametrize(
    ("options", "target", "said"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_would_give_a_secret_away_is_refused_before_anything_is_sent_and_not_repeated(options, target, said):
    with pytest.raises(UsageError) as raised:
        resolve_target(options, target, KEYS, workload_name="w.yaml")

    assert said in str(raised.value)
    assert "marked-" not in str(raised.value)


@pytest.mark.parametrize("host", ["[::1", "℀.example:1", "h:99999", "", "h:0"])
def test_a_proxy_that_is_none_is_named_without_its_password(host):
    with pytest.raises(UsageError) as raised:
        address("https://h/v1", ca_file=None, env={"HTTPS_PROXY": f"http://user:{PASSWORD}@{host}"})

    assert str(raised.value) == (
        "HTTPS_PROXY: only proxies of the form http://host:port can be used; unset it or correct it"
    )


def test_the_httpx_client_sends_no_request_through_a_proxy_that_could_read_it():
    with healthy_server() as server, proxy() as reader, pytest.MonkeyPatch.context() as patched:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            patched.setenv(name, reader.url)

        async def send():
            where = {"ca_file": None, "env": os.environ}
            client = make_client(
                "httpx", url=server.url, headers=KEYS, timeouts=Timeouts(), stream=True, max_connections=1, **where
            )
            await client.send(b"{}", exchange := Exchange())
            await client.close()
            return exchange

        exchange = asyncio.run(send())

    assert (exchange.failure, exchange.status) == (None, 200)
    assert reader.asked == []


@given(text=st.text("ab-", max_size=30), secret=st.text("ab-", min_size=8, max_size=20), cut=st.integers(0, 20))
def test_no_text_shows_a_secret_once_it_is_hidden_also_where_the_text_ends_inside_it(text, secret, cut):
    hidden = hide(text + secret + text + secret[:cut], (secret,))

    assert secret[:8] not in hidden


@given(text=st.text(max_size=60), secret=st.text("cd", min_size=8, max_size=20))
def test_a_text_without_the_secret_stays_as_it_is(text, secret):
    assert hide(text, (secret,)) == text or secret[:8] in text
