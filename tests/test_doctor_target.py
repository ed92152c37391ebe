"""`ptubench doctor` on a target: a row for each thing that must be in order, and what to do about it."""

import asyncio
import json
import os
import socket
import time
from email.utils import formatdate

import pytest

import running
from goldens import shown
from ptubench.client.connect import Address
from ptubench.doctor import machine, rows, target
from ptubench.doctor.rows import Row
from ptubench.errors import UsageError
from ptubench.report import doctor as report
from ptubench.sim import answers
from ptubench.sim.script import Pace, chunked
from ptubench.target.model import TargetOptions
from ptubench.workload.model import Timeouts
from servers import (
    FORBIDDEN,
    UNAUTHENTICATED,
    Authority,
    fault_server,
    greeting_server,
    healthy_server,
    proxy,
    script_server,
)
from test_renewal import web_token

KEY = {"AZURE_OPENAI_API_KEY": "a-secret-of-ours"}
NAMES = ["address", "variables", "proxy", "dns", "network", "tls", "key", "role", "deployment", "clock"]


def look(base, env=KEY, *, credential=None, **options):
    """What is found of a target: its rows by name, and whether it passed."""
    asked = TargetOptions(endpoint=f"{base}/openai/v1/", deployment="gpt-4.1", **options)
    found = asyncio.run(target.examine(asked, env, credential=credential))
    assert [row["name"] for row in found["rows"]] == NAMES
    assert "a-secret-of-ours" not in json.dumps(found)
    return {row["name"]: row for row in found["rows"]}, found["passed"]


def statuses(found):
    return {name: row["status"] for name, row in found.items() if row["status"] != "ok"}


def dated(ahead):
    """A server whose clock is ahead by so many seconds."""
    return script_server(
        lambda _: chunked(answers.healthy(Pace()), {"date": formatdate(time.time() + ahead, usegmt=True)})
    )


# --- in order


def test_a_target_in_order_has_nothing_else_in_its_rows():
    with dated(0) as server:
        found, passed = look(server.base)

    assert passed
    assert statuses(found) == {}
    assert len(server.log) == 1
    assert found["address"]["seen"] == f"{server.url} (endpoint by --endpoint, deployment by --deployment)"
    assert found["variables"]["seen"] == "used: AZURE_OPENAI_API_KEY"
    assert found["proxy"]["seen"] == "none: plain http never goes through one"
    assert found["dns"]["seen"] == "127.0.0.1 is an address (this machine)"
    assert found["network"]["seen"].startswith("connected to 127.0.0.1, round trip ")
    assert found["tls"]["seen"] == "plain http to this machine, where nobody reads it on the way"
    assert found["key"]["seen"] == "the key in AZURE_OPENAI_API_KEY"
    assert found["role"]["seen"] == "the call was let in"
    assert found["deployment"]["seen"].startswith("gpt-4.1 answered as gpt-4.1-2025-04-14 in ")
    assert found["clock"]["seen"] == "agrees with the date of the answer, to about a second"


def test_a_certificate_is_named_with_its_issuer_and_its_end(tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving()) as server:
        found, passed = look(server.base.replace("127.0.0.1", "localhost"), ca_file=str(authority.file(tmp_path)))

    assert passed
    assert found["tls"]["seen"].startswith("TLSv1.3, certificate of localhost by trustme v")
    assert found["tls"]["seen"].endswith(" days")
    assert found["dns"]["seen"].startswith("localhost is ")
    assert found["clock"] == {
        "name": "clock",
        "status": "unknown",
        "seen": "no answer with a date came",
        "way_out": None,
    }


def test_a_proxy_between_is_named_with_its_variable(tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving("r.example")) as server, proxy(host="127.0.0.1") as through:
        env = KEY | {"HTTPS_PROXY": f"http://user:a-secret-of-ours@127.0.0.1:{through.port}"}
        found, passed = look(f"https://r.example:{server.port}", env, ca_file=str(authority.file(tmp_path)))

    assert passed
    assert found["proxy"]["seen"] == f"calls go through 127.0.0.1:{through.port}, as HTTPS_PROXY says"
    assert found["dns"]["seen"] == "r.example is looked up by the proxy, not here"
    assert found["network"]["seen"].startswith("connected to the proxy, round trip ")
    assert found["variables"]["seen"] == "used: AZURE_OPENAI_API_KEY, HTTPS_PROXY"


def test_a_ready_token_is_named_with_its_end():
    with healthy_server() as server:
        ending, lasting = (
            look(server.base, {"AZURE_OPENAI_AD_TOKEN": web_token(exp=time.time() + left)}) for left in (100, 7250)
        )
        (ended, _) = look(server.base, {"AZURE_OPENAI_AD_TOKEN": web_token(exp=time.time() - 100)})

    assert lasting[0]["key"]["seen"] == "the token in AZURE_OPENAI_AD_TOKEN, which ends in 2.0 h"
    assert ending[0]["key"]["seen"] == "the token in AZURE_OPENAI_AD_TOKEN, which ends in 2 min"
    assert ended["key"]["seen"] == "the token in AZURE_OPENAI_AD_TOKEN, which has ended"
    assert ending[0]["key"]["status"] == ended["key"]["status"] == "warning"


# --- not in order


@pytest.mark.parametrize(
    ("kind", "row", "seen", "way_out"),
    [
        (
            "http_401",
            "key",
            "HTTP status 401",
            "check the key in the environment, and that it belongs to this resource",
        ),
        ("keys_disabled", "key", "AuthenticationTypeDisabled", "this resource takes no keys: use --auth entra"),
        ("no_role", "role", "PermissionDenied", "give the identity the role Cognitive Services OpenAI User"),
        ("network_rule", "network", "Firewall rules", "a private address; check the rules of the resource"),
        ("http_404", "deployment", "DeploymentNotFound", "check --deployment, --endpoint and --api-style"),
        ("http_400", "deployment", "The prompt was filtered.", "check the workload's parameters"),
        ("http_500", "deployment", "the probe call failed", "try again, or see how the deployment is"),
        ("redirect", "deployment", "a redirect", "give --endpoint the final address"),
    ],
)
def test_what_the_service_refuses_is_the_row_of_its_cause(kind, row, seen, way_out):
    token = {"AZURE_OPENAI_AD_TOKEN": "opaque"} if kind == "no_role" else KEY
    with fault_server(kind) as server:
        found, passed = look(server.base, token)

    assert not passed
    assert [name for name, one in found.items() if one["status"] == "failed"] == [row]
    assert seen in found[row]["seen"]
    assert way_out in found[row]["way_out"]


def test_where_no_answer_tells_of_the_role_nothing_before_it_has_failed():
    with fault_server("redirect") as server:
        found, _ = look(server.base)

    assert (found["role"]["status"], found["role"]["seen"]) == ("unknown", "no answer tells")


def test_a_busy_deployment_is_a_warning():
    with script_server(lambda _: answers.throttled()) as server:
        found, passed = look(server.base)

    assert passed
    assert statuses(found) == {"deployment": "warning", "clock": "unknown"}


def test_a_certificate_that_nobody_signed_for_us_is_the_row_tls():
    with healthy_server(tls=Authority().serving()) as server:
        found, passed = look(server.base)

    assert not passed
    assert statuses(found).items() >= {"tls": "failed", "key": "unknown"}.items()
    assert found["network"]["seen"].startswith("connected to 127.0.0.1, round trip ")
    assert found["tls"]["way_out"].startswith("name the authority that signed it with --ca-file")
    assert not server.log


def test_a_certificate_of_another_name_is_said_to_be_that(tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving("another.test")) as server:
        found, _ = look(server.base, ca_file=str(authority.file(tmp_path)))

    assert found["tls"]["way_out"] == "check the host name of --endpoint: the certificate is another one's"


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-hello\r\n"])
def test_a_port_where_something_else_is_spoken_is_the_row_tls(greeting):
    with greeting_server(greeting) as port:
        found, passed = look(f"https://127.0.0.1:{port}")

    assert not passed
    assert (found["network"]["status"], found["tls"]["status"]) == ("ok", "failed")
    assert found["tls"]["way_out"].startswith("check host and port of --endpoint, and that TLS 1.2")


@pytest.mark.parametrize(
    ("through", "row", "seen"),
    [(False, "tls", "no TLS handshake with 127.0.0.1:"), (True, "proxy", "no tunnel through proxy 127.0.0.1:")],
)
def test_who_keeps_silent_is_the_row_that_says_so(through, row, seen, monkeypatch):
    monkeypatch.setattr(target, "_TIMEOUTS", Timeouts(connect=0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        env = KEY | ({"HTTPS_PROXY": f"http://127.0.0.1:{port}"} if through else {})
        found, _ = look("https://r.example" if through else f"https://127.0.0.1:{port}", env)

    assert (found["network"]["status"], found[row]["status"]) == ("ok", "failed")
    assert found[row]["seen"] == f"{seen}{port} after 0.3 s"


def test_a_port_where_nobody_listens_is_the_row_network():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found, passed = look(f"http://127.0.0.1:{port}")

    assert not passed
    assert found["network"]["seen"] == f"127.0.0.1:{port} refused the connection"
    assert found["network"]["way_out"] == "check host and port of --endpoint, and that the server runs"
    assert statuses(found) == {"network": "failed"} | dict.fromkeys(
        ("tls", "key", "role", "deployment", "clock"), "unknown"
    )


def test_a_name_that_leads_nowhere_is_the_row_dns():
    found, passed = look("https://no-such-host.invalid")

    assert not passed
    assert found["dns"]["status"] == "failed"
    assert found["dns"]["seen"].startswith("no-such-host.invalid could not be resolved: ")


def test_a_proxy_that_opens_no_tunnel_is_the_row_proxy():
    with proxy(FORBIDDEN) as through:
        found, _ = look("https://r.example", KEY | {"HTTPS_PROXY": through.url})

    assert found["proxy"]["status"] == "failed"
    assert found["proxy"]["seen"] == f"proxy 127.0.0.1:{through.port} did not open the tunnel: 403 Forbidden"
    assert found["proxy"]["way_out"] == "check HTTPS_PROXY, or except the host with NO_PROXY"


def test_a_proxy_that_wants_a_login_is_told_how():
    with proxy(UNAUTHENTICATED) as through:
        found, _ = look("https://r.example", KEY | {"HTTPS_PROXY": through.url})

    assert found["proxy"]["way_out"] == "write the login into HTTPS_PROXY, as in http://USER:PASSWORD@HOST:PORT"


def test_a_proxy_that_is_none_is_the_row_proxy():
    found, passed = look("https://r.example", KEY | {"HTTPS_PROXY": "socks5://x"})

    assert not passed
    assert found["proxy"]["seen"].startswith("HTTPS_PROXY: only proxies of the form http://host:port can be used")


def test_a_missing_key_is_a_row_and_the_way_is_looked_at_all_the_same(monkeypatch):
    with healthy_server() as server:
        found, passed = look(server.base, {}, key_env="OURS")

    assert not passed
    assert found["key"]["seen"] == "OURS is not set; set it to the key of the target, or name another with --key-env"
    assert found["network"]["status"] == "ok"
    assert not server.log


@pytest.mark.parametrize(("ahead", "said"), [(-90, " s ahead of the service's"), (3600, " s behind the service's")])
def test_a_clock_that_is_off_is_a_warning(ahead, said):
    with dated(ahead) as server:
        found, passed = look(server.base)

    assert passed
    assert found["clock"]["seen"].endswith(said)
    assert found["clock"]["status"] == "warning"
    assert "NTP" in found["clock"]["way_out"]


@pytest.mark.parametrize(("date", "status"), [(1000, "ok"), (998, "ok"), (990, "warning"), (1010, "warning")])
def test_a_date_is_cut_to_the_second(date, status):
    assert rows.clock(date, now=1000.5).status == status


def test_another_model_than_was_said_is_a_warning():
    with healthy_server() as server:
        found, _ = look(server.base, model="gpt-5")

    assert found["deployment"]["status"] == "warning"
    assert found["deployment"]["way_out"] == "--model says gpt-5: correct one of them"


# --- Entra


class Sign:
    """A credential that gives a token, or the reason why not."""

    def __init__(self, fault=None) -> None:
        self.fault = fault
        self.asked = []

    def get_token(self, *scopes):
        self.asked += scopes
        if self.fault:
            raise RuntimeError(self.fault)
        return type("Token", (), {"token": "a-secret-of-ours", "expires_on": time.time() + 3600})()


def test_entra_is_asked_where_the_user_asked_for_it():
    credential = Sign()
    with healthy_server() as server:
        found, passed = look(server.base, {}, auth="entra", credential=credential)

    assert passed
    assert credential.asked == ["https://ai.azure.com/.default"]
    assert found["key"]["seen"] == "Entra gave a token"
    assert server.log[0].ask.headers["authorization"] == "Bearer a-secret-of-ours"


def test_a_sign_in_that_fails_is_the_row_of_the_key():
    with healthy_server() as server:
        found, passed = look(server.base, {}, auth="entra", credential=Sign("no account"))

    assert not passed
    assert found["key"]["seen"] == "Entra gave no token for https://ai.azure.com/.default: no account"
    assert found["key"]["way_out"].startswith("sign in with `az login`")
    assert not server.log


def test_entra_is_not_asked_by_itself(monkeypatch):
    monkeypatch.setattr("ptubench.target.access.entra_installed", lambda: True)
    monkeypatch.setattr(target, "_connected", _is_there)
    credential = Sign()
    found, passed = look("https://r.openai.azure.com", {}, credential=credential)

    assert passed
    assert credential.asked == []
    assert found["key"]["status"] == "warning"
    assert found["key"]["way_out"] == "say --auth entra to have it tried, or set a key"


async def _is_there(target, where, found):
    return True


# --- names and certificates


def test_addresses_are_called_private_or_public(monkeypatch):
    async def getaddrinfo(self, host, port, **_):
        return [(0, 0, 0, "", (address, port)) for address in ("10.1.2.3", "20.42.1.7", "10.1.2.3")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    found = asyncio.run(rows.names(Address("r.openai.azure.com", 443, None, None), 1.0))

    assert found == Row(name="dns", status="ok", seen="r.openai.azure.com is 10.1.2.3 (private), 20.42.1.7 (public)")


class Secured:
    """A connection whose certificate ends then."""

    def __init__(self, end) -> None:
        self.end = end

    def version(self):
        return "TLSv1.3"

    def getpeercert(self):
        issuer = ((("countryName", "US"),), (("organizationName", "Proxy Corp"),), (("commonName", "R1"),))
        return {"issuer": issuer, "notAfter": self.end}


@pytest.mark.parametrize(("day", "status", "days"), [(1, "ok", 30), (20, "warning", 11), (30, "warning", 1)])
def test_a_certificate_that_ends_soon_is_a_warning(day, status, days):
    now = 1_790_812_800 + (day - 1) * 86400  # 2026-10-01
    row = rows.tls(Secured("Oct 31 12:00:00 2026 GMT"), "r.example", now=now)

    assert row.status == status
    assert row.seen == f"TLSv1.3, certificate of r.example by Proxy Corp, ends in {days} days"


def test_plain_http_to_another_machine_is_a_warning():
    assert rows.plain(Address("r.example", 80, None, None), loopback=False).way_out == "use https"


def test_variables_are_named_and_never_shown():
    env = KEY | {"OPENAI_API_KEY": "another", "NO_PROXY": "x", "AZURE_CLIENT_SECRET": "third", "AZURE_TENANT_ID": ""}
    with healthy_server() as server:
        found, _ = look(server.base, env)

    assert found["variables"]["seen"] == (
        "used: AZURE_OPENAI_API_KEY; set, and not used here: AZURE_CLIENT_SECRET, NO_PROXY, OPENAI_API_KEY"
    )


# --- the command


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs a command line in this process, where the machine is measured in no time."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "OPENAI_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "measure", lambda **_: MEASURED)

    def ptubench(*arguments):
        code = running.call(*arguments)
        return code, *capsys.readouterr()

    return ptubench


LOAD = {
    "streams": 1,
    "events": 1,
    "calls": 1,
    "ttft_error_p99": 0,
    "lag_p99": 0,
    "cpu": 0,
    "outcome": "client",
}
LIMIT = {"best": LOAD, "worst": LOAD}
MEASURED = {
    "machine": {"host": "h", "cores": 2, "system": "Linux", "ptubench": "0", "python": "3"},
    "others": None,
    "open_files": None,
    "limits": {"ttft_error_p99": 0.05, "lag_p99": 0.005, "cpu": 0.8},
    "workers": [{"workers": 1, "tls": False, "streams": LIMIT, "calls": LIMIT, "cost": {}}],
    "ptu": [],
}


def options(server):
    return ("--endpoint", f"{server.base}/openai/v1/", "--deployment", "gpt-4.1")


def test_the_exit_code_is_that_of_the_target(call):
    with fault_server("http_404") as server:
        code, out, _ = call("doctor", *options(server), "--json")
    with healthy_server() as server:
        good, *_ = call("doctor", *options(server))

    assert (code, good) == (5, 0)
    found = json.loads(out)
    assert found["exit_code"] == 5
    assert not found["target"]["passed"]
    assert found["notes"] == []


def test_a_target_of_the_environment_is_looked_at(call, monkeypatch):
    with healthy_server() as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{server.base}/openai/v1/")
        monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "gpt-4.1")
        code, out, _ = call("doctor")

    assert code == 0
    assert "endpoint by AZURE_OPENAI_ENDPOINT" in " ".join(out.split())
    assert "the target is in order" in out


def test_a_target_that_is_half_named_is_a_usage_error(call):
    code, _, err = call("doctor", "--deployment", "gpt-4.1")

    assert code == 2
    assert err.startswith("error: no target: name a deployment with --endpoint")


def test_a_ca_file_that_is_none_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no certificates can be read from it"):
        look("https://r.example", ca_file=str(tmp_path / "nothing"))


def test_the_table_has_the_way_out_under_its_row_and_shows_texts_of_others_as_text():
    found = {
        "deployment": "d",
        "endpoint": "https://r.example",
        "passed": False,
        "rows": [
            {"name": "dns", "status": "ok", "seen": "r.example is 20.42.1.7 (public)", "way_out": None},
            {"name": "key", "status": "failed", "seen": "no\x1b[2J", "way_out": "set it"},
        ],
    }

    assert shown(report.target(found)).splitlines() == [
        "Target d",
        "dns  ok      r.example is 20.42.1.7 (public)",
        "key  failed  no\N{REPLACEMENT CHARACTER}[2J",
        "             set it",
        "the target is not in order",
        "",
    ]
