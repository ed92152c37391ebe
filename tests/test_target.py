"""Where the load goes: what people paste, which of several places wins, which secret may go where, and what is said."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.secret import looks_secret
from ptubench.target import address
from ptubench.target.access import entra_installed
from ptubench.target.model import Target, TargetOptions, describe
from ptubench.target.resolve import NO_TARGET, request_headers, resolve_target, simulated

KEYS = {"AZURE_OPENAI_API_KEY": "azure-secret", "OPENAI_API_KEY": "openai-secret"}
R = "https://r.openai.azure.com"
V1 = "/openai/v1/chat/completions"
RESPONSES_V1 = "/openai/v1/responses"
RESPONSES = "/openai/responses?api-version=2025-04-01-preview"
CLASSIC = "/openai/deployments/d/chat/completions?api-version=2024-10-21"


def target(env=None, file=None, *, entra=False, **options):
    return resolve_target(
        TargetOptions(**options), file or {}, KEYS if env is None else env, workload_name="chat", entra=entra
    )


def fault(**kwargs):
    with pytest.raises(UsageError) as caught:
        target(**kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pasted", "options", "style", "url", "endpoint"),
    [
        (R, {}, "v1", R + V1, R),
        ("https://R.OpenAI.Azure.com/ ", {}, "v1", R + V1, R),
        (f"{R}/openai/", {}, "v1", R + V1, R),
        (f"{R}/openai/v1/", {}, "v1", R + V1, R),
        (f"{R}/openai/v1/chat/completions", {}, "v1", R + V1, R),
        (f"{R}/openai/v1/responses?api-version=preview", {}, "v1", f"{R}{RESPONSES_V1}?api-version=preview", R),
        (R, {"api_version": "2024-10-21"}, "classic", R + CLASSIC, R),
        (f"{R}?api-version=2024-10-21", {}, "classic", R + CLASSIC, R),
        (R + CLASSIC, {}, "classic", R + CLASSIC, R),
        (f"{R}/openai/deployments/d", {"api_version": "2024-10-21"}, "classic", R + CLASSIC, R),
        (R + CLASSIC, {"api_style": "v1"}, "v1", f"{R}{V1}?api-version=2024-10-21", R),
        (R + RESPONSES, {}, "classic", R + RESPONSES, R),
        (R, {"api": "responses"}, "v1", R + RESPONSES_V1, R),
        (R, {"api": "responses", "api_version": "2025-04-01-preview"}, "classic", R + RESPONSES, R),
        (f"https://gw.test/team{RESPONSES}", {}, "classic", f"https://gw.test/team{RESPONSES}", None),
        ("http://localhost:8000/v1/responses", {}, "openai", "http://localhost:8000/v1/responses", None),
        (f"{R}/openai/deployments/d", {"api": "responses", "api_style": "v1"}, "v1", R + RESPONSES_V1, R),
        ("https://r.services.ai.azure.com", {}, "v1", f"https://r.services.ai.azure.com{V1}", None),
        ("https://r.services.ai.azure.com/api/projects/p", {}, "v1", f"https://r.services.ai.azure.com{V1}", None),
        (f"https://r.services.ai.azure.com/api/projects/p{V1}", {}, "v1", f"https://r.services.ai.azure.com{V1}", None),
        (
            "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
            {},
            "v1",
            f"https://r.services.ai.azure.com{V1}",
            None,
        ),
        ("https://r.openai.azure.us", {}, "v1", f"https://r.openai.azure.us{V1}", None),
        ("https://r.openai.azure.cn", {}, "v1", f"https://r.openai.azure.cn{V1}", None),
        ("https://gw.test/team", {"api_style": "v1"}, "v1", f"https://gw.test/team{V1}", None),
        ("https://gw.test/team/openai/v1", {}, "v1", f"https://gw.test/team{V1}", None),
        ("https://gw.test/team", {"api_version": "2024-10-21"}, "classic", f"https://gw.test/team{CLASSIC}", None),
        (f"https://gw.test/team{CLASSIC}", {}, "classic", f"https://gw.test/team{CLASSIC}", None),
        (
            "https://gw.test:8443/a/b",
            {"api_style": "openai"},
            "openai",
            "https://gw.test:8443/a/b/chat/completions",
            None,
        ),
        ("http://localhost:8000/v1", {}, "openai", "http://localhost:8000/v1/chat/completions", None),
        ("http://localhost:8000", {"api_style": "openai"}, "openai", "http://localhost:8000/v1/chat/completions", None),
        ("http://[::1]:8000/v1/chat/completions", {}, "openai", "http://[::1]:8000/v1/chat/completions", None),
        ("http://127.0.0.1:8000/openai/v1", {}, "v1", f"http://127.0.0.1:8000{V1}", None),
    ],
)
def test_what_people_paste_is_understood(pasted, options, style, url, endpoint):
    name = None if "/deployments/" in pasted else "d"
    found = target(endpoint=pasted, deployment=name, **options)

    assert (found.style, found.url) == (style, url)
    assert found.kind == ("openai" if style == "openai" else "azure")
    assert found.deployment == "d"
    assert found.api == ("responses" if "responses" in url else "chat")
    assert found.body_model == ("d" if style != "classic" or found.api == "responses" else None)
    assert endpoint in (None, found.endpoint)


def test_a_deployment_name_is_escaped_in_the_url_and_not_in_the_body():
    classic = target(endpoint=R, deployment="a/b c", api_version="2024-10-21")
    pasted = target(endpoint=f"{R}/openai/deployments/a%2Fb%20c/chat/completions?api-version=2024-10-21")

    assert classic.url == f"{R}/openai/deployments/a%2Fb%20c/chat/completions?api-version=2024-10-21"
    assert pasted.url == classic.url
    assert target(endpoint=R, deployment="a/b c").body_model == "a/b c"


def test_an_openai_compatible_server_takes_the_model_for_the_name():
    assert target(endpoint="http://localhost:8000/v1", model="llama").body_model == "llama"


@pytest.mark.parametrize("variable", ["AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_DEPLOYMENT_NAME"])
@pytest.mark.parametrize("version", ["OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"])
def test_the_environment_names_a_target(variable, version):
    found = target(env={**KEYS, "AZURE_OPENAI_ENDPOINT": R, variable: "d", version: "2024-10-21"})

    assert found.url == R + CLASSIC
    assert found.sources == {
        "endpoint": "AZURE_OPENAI_ENDPOINT",
        "deployment": variable,
        "api_version": version,
        "auth": "AZURE_OPENAI_API_KEY",
    }


def test_options_win_over_the_workload_and_that_over_the_environment():
    env = {**KEYS, "AZURE_OPENAI_ENDPOINT": "https://env.test/v1", "AZURE_OPENAI_DEPLOYMENT": "env"}
    file = {"endpoint": "https://file.test/v1", "deployment": "file", "model": "file", "ptu": 10}

    found = target(env, file, endpoint="https://option.test/v1", ptu=20)

    assert (found.endpoint, found.deployment, found.model, found.ptu) == ("https://option.test/v1", "file", "file", 20)
    assert (found.ptu_source, found.sources["deployment"]) == ("--ptu", "chat: target.deployment")
    assert target(env, {"deployment": "file"}).endpoint == "https://env.test/v1"


def test_what_stands_in_the_address_wins_over_what_is_less_explicit_than_the_address():
    env = {**KEYS, "AZURE_OPENAI_DEPLOYMENT": "env", "OPENAI_API_VERSION": "2020-01-01"}

    assert target(env, {"deployment": "file"}, endpoint=R + CLASSIC).url == R + CLASSIC


def test_a_version_in_the_environment_does_not_undo_an_address_that_needs_none():
    env = {**KEYS, "OPENAI_API_VERSION": "2024-10-21"}

    assert target(env, endpoint=f"{R}/openai/v1/", deployment="d").url == R + V1
    assert target(env, endpoint="http://localhost:8000/v1", deployment="d").style == "openai"


def test_simulate_wins_over_all():
    file = {"endpoint": "https://file.test/v1", "deployment": "file"}
    env = {**KEYS, "AZURE_OPENAI_ENDPOINT": R}

    found = target(env, file, endpoint=R, deployment="d", simulate="gpt-4.1:50,depth=3s")

    assert (found.kind, found.model, found.ptu, found.url) == ("simulated", "gpt-4.1", 50, "")
    assert found.simulate == {"model": "gpt-4.1", "ptu": "50", "depth": "3s"}


def test_a_workload_may_ask_for_a_simulated_deployment_but_an_endpoint_option_wins():
    file = {"simulate": {"model": "gpt-4.1", "ptu": 50, "ratio": 3}}

    assert target({**KEYS, "AZURE_OPENAI_ENDPOINT": R}, file).kind == "simulated"
    assert target(file=file).ratio == 3
    assert target(file=file, endpoint=R, deployment="d").kind == "azure"


def test_a_simulated_deployment_gets_its_address_when_it_has_started():
    found = simulated(target(simulate="gpt-4.1:50"), 8123)

    assert (found.url, found.endpoint) == (f"http://127.0.0.1:8123{V1}", "http://127.0.0.1:8123")
    assert (found.body_model, found.auth) == ("gpt-4.1", "none")


def test_a_simulated_deployment_may_ask_for_a_key():
    found = target(simulate="gpt-4.1:50,key_env=SIM_KEY")

    assert request_headers(found, {"SIM_KEY": "k"}) == {"api-key": "k"}


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"endpoint": R}, {"api-key": "azure-secret"}),
        ({"endpoint": R, "api_version": "2024-10-21"}, {"api-key": "azure-secret"}),
        ({"endpoint": "https://x.test/v1"}, {"authorization": "Bearer openai-secret"}),
        ({"endpoint": R, "key_env": "OTHER"}, {"api-key": "other"}),
        ({"endpoint": "https://x.test/v1", "key_env": "OTHER"}, {"authorization": "Bearer other"}),
        ({"endpoint": R, "auth": "none"}, {}),
        ({"endpoint": R, "auth": "entra"}, {}),
        ({"endpoint": R, "auth": "none", "header": ("Authorization: env:OTHER",)}, {"authorization": "other"}),
        ({"endpoint": R, "header": ("X-Gateway:env:OTHER",)}, {"api-key": "azure-secret", "x-gateway": "other"}),
        ({"simulate": "gpt-4.1:50"}, {}),
    ],
)
def test_each_target_gets_its_own_secret(options, headers):
    env = {**KEYS, "OTHER": "other"}

    assert request_headers(target(env, deployment="d", **options), env) == headers


@pytest.mark.parametrize(
    ("env", "options", "entra", "auth"),
    [
        ({}, {"endpoint": R}, True, "entra"),
        (KEYS, {"endpoint": R}, True, "key"),
        ({}, {"endpoint": "https://x.test/v1"}, True, "none"),
        ({}, {"endpoint": "http://127.0.0.1:8000/openai/v1"}, True, "none"),
        ({"OPENAI_API_KEY": "o"}, {"endpoint": "http://127.0.0.1:8000/openai/v1"}, False, "none"),
        ({"AZURE_OPENAI_API_KEY": "a"}, {"endpoint": "https://x.test/v1"}, False, "none"),
        ({}, {"endpoint": "https://gw.test/openai/v1", "header": ("x-key: env:X",)}, False, "none"),
    ],
)
def test_auto_takes_the_key_if_it_is_set_else_entra_where_it_makes_sense(env, options, entra, auth):
    assert target(env, deployment="d", entra=entra, **options).auth == auth


def test_an_endpoint_of_a_file_gets_a_key_when_it_is_trusted_or_named_by_the_user():
    file = {"endpoint": R, "deployment": "d", "headers": {"x-gateway": "env:OTHER"}}

    assert target(file=file, trust_target=True).auth == "key"
    assert target(file=file, endpoint=R).header_env == (("x-gateway", "OTHER"),)
    assert target({}, {"endpoint": "http://127.0.0.1:1/v1", "deployment": "d"}).auth == "none"


NO_TRUST = "name it with --endpoint, or say --trust-target, or --auth none"
EXAMPLE = "write one such as https://RESOURCE.openai.azure.com or http://127.0.0.1:8000/v1"
UNKNOWN_KIND = (
    "does not tell what kind of server it is; end it with /openai/v1/ for Azure behind a gateway and for "
    "`ptubench simulate`, with /v1/ for an OpenAI-compatible server, or say --api-style v1, classic or openai"
)
FILE = {"endpoint": R, "deployment": "d"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"env": {}}, NO_TARGET),
        ({"deployment": "d"}, NO_TARGET),
        ({"endpoint": R}, "no deployment: name it with --deployment NAME, or set AZURE_OPENAI_DEPLOYMENT"),
        ({"endpoint": "r.openai.azure.com"}, f"--endpoint: `r.openai.azure.com` is not a valid address; {EXAMPLE}"),
        ({"endpoint": "ftp://x/?a=b"}, f"--endpoint: `ftp://x/` is not a valid address; {EXAMPLE}"),
        ({"endpoint": "https://[::1"}, f"--endpoint: not a valid address; {EXAMPLE}"),
        ({"endpoint": "https://x:99999/v1"}, f"--endpoint: not a valid address; {EXAMPLE}"),
        ({"endpoint": "https://a b.test/v1"}, f"--endpoint: `https://a b.test/v1` is not a valid address; {EXAMPLE}"),
        ({"endpoint": "https://a%20b.test/v1"}, f"--endpoint: `a%20b.test` is not a host name; {EXAMPLE}"),
        (
            {"env": {**KEYS, "AZURE_OPENAI_ENDPOINT": "nonsense"}},
            f"AZURE_OPENAI_ENDPOINT: `nonsense` is not a valid address; {EXAMPLE}",
        ),
        (
            {"file": {"endpoint": "nonsense"}},
            f"chat: target.endpoint: `nonsense` is not a valid address; {EXAMPLE}",
        ),
        (
            {"endpoint": "https://me:hunter2@x.test/v1"},
            "--endpoint: holds a user name or password; take it out, and give keys by environment variables",
        ),
        (
            {"endpoint": "me:hunter2@x.test"},
            "--endpoint: holds a user name or password; take it out, and give keys by environment variables",
        ),
        (
            {"endpoint": f"https://x.test/v1?key={'aB3' * 28}"},
            "--endpoint: holds what looks like a key; take it out and set AZURE_OPENAI_API_KEY instead",
        ),
        (
            {"endpoint": "https://x.test/v1?code=hunter2"},
            (
                "--endpoint: only `api-version` is understood after the `?` of an address; take the rest out, "
                "and send keys for gateways with --header 'NAME: env:VAR'"
            ),
        ),
        ({"endpoint": f"{R}/#top"}, "--endpoint: ends in a `#` part, which a server never sees; take it out"),
        (
            {"endpoint": f"{R}/openai/deployments/"},
            "--endpoint: `/openai/deployments` is not the address of a deployment; end it with the deployment's name",
        ),
        ({"endpoint": "https://gw.test/team"}, f"--endpoint: `https://gw.test/team` {UNKNOWN_KIND}"),
        ({"endpoint": "http://localhost:8000"}, f"--endpoint: `http://localhost:8000` {UNKNOWN_KIND}"),
        ({"endpoint": f"{R}/v1"}, f"--endpoint: `{R}/v1` {UNKNOWN_KIND}"),
        (
            {"endpoint": R, "deployment": "d", "api_style": "classic"},
            "--endpoint: a classic address needs --api-version, such as 2024-10-21, or --api-style v1",
        ),
        (
            {"endpoint": "http://localhost:1/v1", "deployment": "d", "api_version": "2024-10-21"},
            (
                "--api-version: an OpenAI-compatible server takes no api-version; leave it out, or say --api-style classic "
                "for Azure behind a gateway"
            ),
        ),
        (
            {"endpoint": R, "deployment": "d", "api_version": "1&x=2"},
            "--api-version: `1&x=2` is not an API version; write one such as 2024-10-21",
        ),
        (
            {"endpoint": R, "deployment": "d", "api_style": "v2"},
            "--api-style: `v2` is not one of v1, classic, openai",
        ),
        (
            {"endpoint": R + CLASSIC, "deployment": "other"},
            "--deployment: `other` contradicts `d` in --endpoint; keep one",
        ),
        ({"endpoint": R, "deployment": "a\nb"}, "--deployment: `a b` is not the name of a deployment"),
        (
            {"endpoint": R, "deployment": "0f23456789abcdef0f23456789abcdef"},
            "--deployment: looks like a key and not like a name; set AZURE_OPENAI_API_KEY instead",
        ),
        (
            {"endpoint": R, "deployment": "d", "env": {}},
            (
                f"no key for {R}: set AZURE_OPENAI_API_KEY, name another variable with --key-env, or for Entra ID, in "
                "the folder of ptubench: pip install -e '.[azure]'"
            ),
        ),
        (
            {"endpoint": R, "deployment": "d", "env": {}, "auth": "key"},
            "AZURE_OPENAI_API_KEY is not set; set it to the key of the target, or name another with --key-env",
        ),
        (
            {"endpoint": R, "deployment": "d", "key_env": "MINE"},
            "MINE is not set; set it to the key of the target, or name another with --key-env",
        ),
        (
            {"endpoint": R, "deployment": "d", "key_env": "OPENAI_API_KEY"},
            (
                "--key-env OPENAI_API_KEY: this key goes only to targets of the style openai; set AZURE_OPENAI_API_KEY, or "
                "say --api-style openai"
            ),
        ),
        (
            {"endpoint": R, "deployment": "d", "key_env": "0f23456789abcdef0f23456789abcdef"},
            "--key-env: takes the name of an environment variable, such as AZURE_OPENAI_API_KEY, and never the key itself",
        ),
        (
            {"endpoint": R, "deployment": "d", "auth": "magic"},
            "--auth: `magic` is not one of auto, key, token, entra, none",
        ),
        (
            {"endpoint": "https://x.test/v1", "deployment": "d", "auth": "entra"},
            "--auth entra: Entra tokens are for Azure, and this target is an OpenAI-compatible server",
        ),
        (
            {"file": FILE},
            (
                "chat: target.endpoint: the key in AZURE_OPENAI_API_KEY is not sent to an endpoint that only a workload file "
                f"names; {NO_TRUST}"
            ),
        ),
        (
            {"file": FILE, "env": {}, "entra": True},
            f"chat: target.endpoint: an Entra token is not sent to an endpoint that only a workload file names; {NO_TRUST}",
        ),
        (
            {"file": {**FILE, "auth": "none", "headers": {"x": "env:AZURE_OPENAI_API_KEY"}}},
            f"chat: target.endpoint: a header of yours is not sent to an endpoint that only a workload file names; {NO_TRUST}",
        ),
        (
            {"endpoint": "http://10.0.0.1/v1", "deployment": "d"},
            "--endpoint: the key in OPENAI_API_KEY would cross the network readable to all; use https, or --auth none",
        ),
        (
            {"endpoint": R, "deployment": "d", "header": ("x-key: hunter2",)},
            (
                "--header: the value of `x-key` must come from an environment variable, since it may be a secret; write "
                "'x-key: env:VAR'"
            ),
        ),
        ({"endpoint": R, "deployment": "d", "header": ("x-key",)}, "--header: not of the form 'NAME: env:VAR'"),
        (
            {"endpoint": R, "deployment": "d", "header": ("x key: env:A",)},
            "--header: `x key` is not the name of a header; write 'NAME: env:VAR'",
        ),
        (
            {"endpoint": R, "deployment": "d", "header": ("Host: env:A",)},
            "--header: ptubench sets `Host` itself; remove it",
        ),
        (
            {"endpoint": R, "deployment": "d", "header": ("x: env:not a name",)},
            "--header x: takes the name of an environment variable, such as AZURE_OPENAI_API_KEY, and never the key itself",
        ),
        (
            {"endpoint": R, "deployment": "d", "ptu": 50, "type": "standard"},
            "--ptu: a standard deployment has no PTU; leave it out, or correct the type",
        ),
        (
            {"endpoint": R, "deployment": "d", "type": "globl"},
            "--type: `globl` is not one of global, datazone, regional, standard",
        ),
        ({"endpoint": R, "deployment": "d", "ptu": 0}, "--ptu: must be above 0, not 0"),
        ({"endpoint": R, "deployment": "d", "ratio": -1.5}, "--ratio: must be above 0, not -1.5"),
        ({"simulate": "gpt-4.1"}, "--simulate: model and size are missing; write MODEL:PTU, such as gpt-4.1:50"),
        ({"simulate": "gpt-4.1:50,depth"}, "--simulate: `depth` is not KEY=VALUE, such as depth=30s"),
        ({"simulate": "gpt-4.1:50,seed=1,seed=2"}, "--simulate: `seed` is given twice; keep one"),
        ({"simulate": "gpt-4.1:50,ratio=x"}, "--simulate: ratio: `x` is not a number"),
        (
            {"file": {**FILE, "simulate": "gpt-4.1:50"}},
            "chat: target.simulate and chat: target.endpoint name two targets; keep one",
        ),
    ],
)
def test_what_is_wrong_with_a_target_is_one_sentence(given, sentence):
    assert fault(**given) == sentence


@pytest.mark.parametrize(
    ("env", "header", "sentence"),
    [
        ({}, "", "AZURE_OPENAI_API_KEY is not set; set it to what the target expects"),
        (
            {"AZURE_OPENAI_API_KEY": "hunter2\r\nx: y"},
            "",
            "AZURE_OPENAI_API_KEY holds a line break, a blank at an end or a character that no header can carry; set it again",
        ),
        (
            {"AZURE_OPENAI_API_KEY": "hunter2 "},
            "",
            "AZURE_OPENAI_API_KEY holds a line break, a blank at an end or a character that no header can carry; set it again",
        ),
        (KEYS, "x-gateway: env:NONE", "NONE is not set; set it to what the target expects"),
        (
            {**KEYS, "A": "a"},
            "Api-Key: env:A",
            "--header Api-Key: is set already by the key or by another --header; give it once",
        ),
    ],
)
def test_a_secret_that_no_header_can_carry_is_named_and_not_shown(env, header, sentence):
    found = target(endpoint=R, deployment="d", header=(header,) if header else ())

    with pytest.raises(UsageError) as caught:
        request_headers(found, env)

    assert str(caught.value) == sentence


def test_what_is_stored_of_a_target_holds_no_secret():
    env = {**KEYS, "GATEWAY": "gateway-secret"}
    found = target(env, endpoint=R, deployment="d", header=("x-gateway: env:GATEWAY",))

    assert "secret" not in repr(describe(found))
    assert msgspec.convert(describe(found), Target) == found


def test_without_model_and_size_they_are_null():
    found = target(endpoint=R, deployment="d", ptu=50, model="of-tomorrow")

    assert (found.model, found.ptu, found.ratio) == ("of-tomorrow", 50, None)
    assert target(endpoint=R, deployment="d").model is None


@given(text=st.text(max_size=80) | st.text("htps:/.@?#[]%v1openaidymcu&=-0", max_size=60).map("https://x".__add__))
def test_any_text_is_an_address_or_a_usage_error_of_one_line(text):
    try:
        found = address.parse(text, "--endpoint")
        said = address.url(found, found.style or "v1", found.api or "chat", "d", None)
    except UsageError as exc:
        said = str(exc)

    assert said.isprintable()


@given(secret=st.from_regex(r"\A[A-Za-z0-9]{84}\Z").filter(looks_secret))
def test_a_key_in_an_address_is_never_repeated(secret):
    said = fault(endpoint=f"https://x.test/{secret}")

    assert secret not in said


def test_whether_entra_is_installed_can_be_asked_everywhere():
    assert entra_installed() in (True, False)
