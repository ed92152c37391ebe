"""Where the load went: address, proxy, regions, the round trip inside TTFT; and the way out of a target that refuses."""

import asyncio
import time

import pytest

import running
from goldens import golden, shown
from ptubench.analysis.summary import summarize
from ptubench.client.connect import address
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.client.timed import TimedClient
from ptubench.engine import ways_out
from ptubench.engine.probe import Probe, probe
from ptubench.errors import TargetRefused
from ptubench.report.heading import heading
from ptubench.report.network import network
from ptubench.sim import answers
from ptubench.sim.script import Pace, chunked
from ptubench.target.model import Target
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Timeouts, Workload
from runs import end, head, ok, throttled, write
from servers import Authority, fault_server, healthy_server, proxy, script_server
from summaries import summary

V1 = "https://r.openai.azure.com/openai/v1/chat/completions"
WORKLOAD = Workload(
    name="w",
    classes=(Class(prompt=Fixed(tokens=32), completion=Fixed(tokens=8)),),
    load=OpenLoop(stages=(Stage(value=1, seconds=1),)),
    duration=1.0,
    warmup=0.0,
)


def target(url=V1, *, style="v1", **changes):
    return Target(kind="azure", style=style, endpoint=url, url=url, deployment="d", body_model="d", **changes)


# --- the way out of a refusal

MISSING = "401: Unauthorized. Access token is missing, invalid, audience is incorrect ({}), or have expired."
ROLE = "the role Cognitive Services OpenAI User on the resource"
AI, COGNITIVE = "https://ai.azure.com/.default", "https://cognitiveservices.azure.com/.default"


def hint(status, said, *, peer="20.42.1.7", proxy=None, **of_target):
    exchange = Exchange()
    exchange.status, exchange.failure, exchange.error, exchange.peer = status, f"http_{status}", said, peer
    return ways_out.way_out(target(**of_target), exchange, proxy=proxy)


@pytest.mark.parametrize(
    ("status", "said", "of_target", "expected"),
    [
        (
            403,
            "AuthenticationTypeDisabled: Key based authentication is disabled for this resource.",
            {"auth": "key"},
            f"this resource takes no keys: use --auth entra, and give your identity {ROLE}",
        ),
        (
            401,
            MISSING.format("https://cognitiveservices.azure.com"),
            {"auth": "entra"},
            f"the token was asked for {AI}; ask for the other one with --scope {COGNITIVE}",
        ),
        (
            401,
            MISSING.format("https://ai.azure.com"),
            {"auth": "entra", "style": "classic"},
            f"the token was asked for {COGNITIVE}; ask for the other one with --scope {AI}",
        ),
        (
            401,
            MISSING.format("urn:ms.scopedToken"),
            {"auth": "entra", "scope": COGNITIVE},
            f"the token was asked for {COGNITIVE}; ask for the other one with --scope {AI}",
        ),
        (
            401,
            MISSING.format("https://cognitiveservices.azure.us"),
            {"auth": "entra"},
            f"the token was asked for {AI}; ask for the other one with --scope https://cognitiveservices.azure.us/.default",
        ),
        (
            401,
            MISSING.format("https://cognitiveservices.azure.com"),
            {"auth": "token", "key_env": "AZURE_OPENAI_AD_TOKEN"},
            (
                "the token in AZURE_OPENAI_AD_TOKEN has ended or is for another audience; set a new one, from "
                f"az account get-access-token --scope {AI}, or --scope {COGNITIVE}"
            ),
        ),
        (
            401,
            MISSING.format("https://cognitiveservices.azure.com"),
            {"auth": "key"},
            "check the key in the environment, and that it belongs to this resource",
        ),
        (
            401,
            "PermissionDenied: The principal `x` lacks the required data action `y` to perform `POST z`",
            {"auth": "entra"},
            f"give the identity {ROLE}; it takes some minutes to count",
        ),
        (
            403,
            "PermissionDenied: Principal does not have access to API/Operation.",
            {"auth": "token"},
            f"give the identity {ROLE}; it takes some minutes to count",
        ),
        (
            400,
            "Tenant provided in token does not match resource tenant.",
            {"auth": "entra"},
            "sign in to the tenant of the resource: az login --tenant TENANT",
        ),
        (401, "no", {"auth": "entra"}, f"check that the identity is in the resource's tenant and has {ROLE}"),
        (
            401,
            "no",
            {"auth": "none", "header_env": (("authorization", "X"),)},
            "check the key in the environment, and that it belongs to this resource",
        ),
        (403, "no", {"auth": "key"}, "check the key's or identity's role, and the resource's network rules"),
    ],
)
def test_a_refusal_names_the_way_out(status, said, of_target, expected):
    assert hint(status, said, **of_target) == expected


RULES = [
    "403: Access denied due to Virtual Network/Firewall rules.",
    "403: Public access is disabled. Please configure private endpoint.",
    "403: A Virtual Network is configured for this resource. Please use the correct endpoint for making requests.",
    "PublicNetworkAccessDisabled: no",
]


@pytest.mark.parametrize("said", RULES)
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (
            {"peer": "20.42.1.7"},
            (
                "r.openai.azure.com resolved to 20.42.1.7, a public address; run where the name leads to the private endpoint, "
                "or let this machine's address in"
            ),
        ),
        (
            {"peer": "10.0.3.4"},
            (
                "r.openai.azure.com resolved to 10.0.3.4, a private address; check the rules of the resource, and its "
                "private endpoint"
            ),
        ),
        (
            {"peer": "10.9.9.9", "proxy": "proxy.corp:3128"},
            "r.openai.azure.com was reached through the proxy proxy.corp:3128, so that rules see the proxy's address",
        ),
        (
            {"peer": None},
            "check which address r.openai.azure.com resolves to, and whether the resource's rules let this machine in",
        ),
    ],
)
def test_a_network_rule_names_the_address_that_was_asked(said, way, expected):
    assert hint(403, said, auth="key", **way) == f"{expected}; see docs/private-network.md"


def test_what_is_no_refusal_has_no_way_out():
    exchange = Exchange()
    exchange.status, exchange.failure = 503, "http_503"

    assert ways_out.way_out(target(), exchange, proxy=None) is None


def client_of(url, *, env=None, ca_file=None, headers=None):
    return make_client(
        "timed",
        url=url,
        headers=headers or {},
        timeouts=Timeouts(),
        stream=True,
        ca_file=ca_file,
        env=env or {},
        max_connections=1,
    )


@pytest.mark.parametrize(
    ("kind", "auth", "expected"),
    [
        ("keys_disabled", "key", "this resource takes no keys: use --auth entra"),
        ("wrong_audience", "entra", f"ask for the other one with --scope {COGNITIVE}"),
        ("no_role", "entra", f"give the identity {ROLE}"),
        ("network_rule", "key", "the call went to 127.0.0.1, a private address"),
    ],
)
def test_the_simulated_faults_of_identity_and_network_show_their_way_out(kind, auth, expected):
    with fault_server(kind) as server, pytest.raises(TargetRefused) as raised:
        asyncio.run(probe(lambda: client_of(server.url), target(server.url, auth=auth), WORKLOAD))

    assert expected in str(raised.value)


# --- the round trip


def test_the_round_trip_is_one_handshake_without_the_time_of_answers_or_tls(tmp_path):
    authority = Authority()
    with healthy_server(ttft=0.3, tls=authority.serving()) as server:
        ca_file = str(authority.file(tmp_path))
        began = time.perf_counter()
        found = asyncio.run(probe(lambda: client_of(server.url, ca_file=ca_file), target(server.url), WORKLOAD))
        took = time.perf_counter() - began

    assert 0 < found.tcp_s < found.connect_s - found.tls_s + 1e-9
    assert found.connect_s < took - 0.3
    assert found.network() == {
        "address": "127.0.0.1",
        "private": True,
        "proxy": None,
        "round_trip_ms": found.tcp_s * 1000,
        "first_connect_ms": pytest.approx((found.connect_s - found.tls_s) * 1000),
        "first_tls_ms": found.tls_s * 1000,
    }


def test_the_first_address_of_a_name_that_takes_the_connection_is_used_and_timed():
    with healthy_server() as server:  # on 127.0.0.1 alone; localhost may be ::1 first
        url = server.url.replace("127.0.0.1", "localhost")
        exchange = Exchange()

        async def once():
            client = TimedClient(url, address(url, ca_file=None, env={}), headers={}, timeouts=Timeouts(), stream=True)
            await client.send(b"{}", exchange)
            await client.close()

        asyncio.run(once())

    assert (exchange.failure, exchange.peer) == (None, "127.0.0.1")
    assert 0 < exchange.tcp_s <= exchange.connect_s


def test_behind_a_proxy_the_address_is_the_proxys_and_so_is_the_round_trip(tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving("model.test")) as server, proxy(host="127.0.0.1") as tunnel:
        url = server.url.replace("127.0.0.1", "model.test")
        env = {"HTTPS_PROXY": tunnel.url}
        ca_file = str(authority.file(tmp_path))
        name = address(url, ca_file=ca_file, env=env).proxy.name
        made = probe(lambda: client_of(url, env=env, ca_file=ca_file), target(url), WORKLOAD, proxy=name)
        found = asyncio.run(made).network()

    assert found["proxy"] == f"127.0.0.1:{tunnel.port}"
    assert found["round_trip_ms"] > 0


@pytest.mark.parametrize(
    ("address_", "private"),
    [("10.1.2.3", True), ("fd00::1", True), ("127.0.0.1", True), ("20.42.1.7", False), (None, None), ("proxy", None)],
)
def test_an_address_is_private_public_or_unknown(address_, private):
    found = Probe(
        limit_field="x",
        status=200,
        model=None,
        simulated=None,
        peer=address_,
        connect_s=None,
        tls_s=None,
        e2e_s=None,
        headers={},
    )

    assert found.network()["private"] is private
    assert found.network()["round_trip_ms"] is None


# --- regions


def from_(region, **more):
    return {"headers": {"x-ms-region": region, **more}}


def test_regions_are_counted_over_the_answers_of_the_target_itself(tmp_path):
    lines = [
        *(ok(i, 10 + i, **from_("Sweden Central")) for i in range(5)),
        ok(5, 5.0, **from_("Sweden Central")),  # warm-up counts too
        throttled(6, 16, **from_("West Europe")),
        ok(7, 17, **from_("East US", **{"x-ms-spillover-from-deployment": "d"})),
        ok(8, 18, diverted=True, **from_("France Central")),
        ok(9, 19),
    ]

    found = summarize(write(tmp_path / "run.jsonl", head(), *lines, end()))

    assert found["network"]["region"] == {"Sweden Central": 6, "West Europe": 1}
    assert list(found["network"]["region"]) == ["Sweden Central", "West Europe"]


def test_a_server_that_names_ever_new_regions_does_not_make_the_report_long(tmp_path):
    lines = [ok(i, 10 + i * 0.5, **from_(f"region {i % 40}")) for i in range(100)]

    found = summarize(write(tmp_path / "run.jsonl", head(), *lines, end()))["network"]["region"]

    assert len(found) == 13
    assert sum(found.values()) == 100


# --- the report


def way(**changes):
    standard = {
        "address": "20.42.1.7",
        "private": False,
        "proxy": None,
        "round_trip_ms": 12.34,
        "connect_ms": {"p50": 13.1, "p95": 20.0},
        "tls_ms": {"p50": 31.0, "p95": 40.0},
        "region": {"Sweden Central": 1380, "West Europe": 12},
        "place": "vm swedencentral",
    }
    return standard | changes


def test_the_heading_tells_the_way():
    run = summary()
    run["network"] = way()
    text = shown(heading(run))

    assert text == golden("heading-network-80", text)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {},
            (
                "20.42.1.7, public; answered in Sweden Central 1,380, West Europe 12; place vm swedencentral\n"
                "network round trip 12.3 ms, included in TTFT; connect p50 13.1 ms; TLS p50 31.0 ms"
            ),
        ),
        (
            {"address": "10.0.0.4", "private": True, "region": {}, "place": None, "tls_ms": {"p50": None}},
            "10.0.0.4, private\nnetwork round trip 12.3 ms, included in TTFT; connect p50 13.1 ms",
        ),
        (
            {"address": "127.0.0.1", "private": True, "proxy": "127.0.0.1:3128", "region": {}, "place": None},
            (
                "through the proxy 127.0.0.1:3128\nround trip to the proxy 12.3 ms, included in TTFT, as is the way beyond it; "
                "connect p50 13.1 ms; TLS p50 31.0 ms"
            ),
        ),
        (
            {
                "region": {},
                "place": None,
                "connect_ms": {"p50": None},
                "tls_ms": {"p50": None},
                "first_connect_ms": 14.0,
            },
            "20.42.1.7, public\nnetwork round trip 12.3 ms, included in TTFT; connect 14.0 ms, once",
        ),
        ({"address": "127.0.0.1", "place": None}, None),
        ({"address": "::1"}, "place vm swedencentral"),
        (
            {
                "address": None,
                "private": None,
                "round_trip_ms": None,
                "connect_ms": None,
                "tls_ms": {"p50": "x"},
                "region": {},
                "place": None,
            },
            None,
        ),
        (
            {"region": {f"r{i}": 9 - i for i in range(6)}, "place": None, "round_trip_ms": float("nan")},
            "20.42.1.7, public; answered in r0 9, r1 8, r2 7, r3 6, 2 more\nconnect p50 13.1 ms; TLS p50 31.0 ms",
        ),
    ],
)
def test_two_lines_say_where_it_went_and_how_far_that_is(changes, lines):
    text = network(way(**changes))

    assert (text and text.plain) == lines


def test_what_a_server_calls_its_region_can_do_nothing_to_a_terminal():
    text = network(way(region={"\x1b[2J\u202eevil\n" + "x" * 500: 1}))

    assert "\x1b" not in text.plain
    assert "\u202e" not in text.plain
    assert len(text.plain) < 300


def test_a_run_stores_the_way_and_its_regions(tmp_path):
    with script_server(lambda _: answers_in("Nowhere")) as server:
        options = ("--endpoint", f"{server.base}/openai/v1/", "--deployment", "d", "--place", "a test")
        run = running.start(tmp_path / "run", *options, duration="1s").finish()

    found = run.summary["network"]
    assert found["address"] == "127.0.0.1"
    assert found["round_trip_ms"] > 0
    assert found["place"] == "a test"
    assert found["region"] == {"Nowhere": len(run.attempts)}


def answers_in(region):
    return chunked(answers.healthy(Pace(tokens=4, ttft=0.0, gap=0.0)), {"x-ms-region": region})
