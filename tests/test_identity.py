"""Key, ready token or Entra: which one a target gets, with which scope, and what is refused."""

import asyncio
import contextlib
import re
import time

import pytest

from ptubench import commands
from ptubench.client import auth
from ptubench.engine.reach import Aim, reach
from ptubench.errors import UsageError
from ptubench.target.divert import resolve_divert
from ptubench.target.model import TargetOptions
from ptubench.target.resolve import request_headers, resolve_target
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Workload
from servers import healthy_server
from test_renewal import web_token

R = "https://r.openai.azure.com"
KEY, TOKEN = {"AZURE_OPENAI_API_KEY": "a-key"}, {"AZURE_OPENAI_AD_TOKEN": "a-token"}
V1, CLASSIC = "https://ai.azure.com/.default", "https://cognitiveservices.azure.com/.default"


def target(env, *, entra=True, file=None, **options):
    standard = {} if file else {"endpoint": R, "deployment": "d"}
    return resolve_target(TargetOptions(**standard | options), file or {}, env, workload_name="w.yaml", entra=entra)


def fault(env, **options):
    with pytest.raises(UsageError) as raised:
        target(env, **options)
    return str(raised.value)


# --- which one


@pytest.mark.parametrize(
    ("env", "options", "chosen", "variable"),
    [
        (KEY | TOKEN, {}, "key", "AZURE_OPENAI_API_KEY"),
        (TOKEN, {}, "token", "AZURE_OPENAI_AD_TOKEN"),
        (TOKEN, {"entra": False}, "token", "AZURE_OPENAI_AD_TOKEN"),
        ({}, {}, "entra", None),
        (KEY | TOKEN, {"auth": "token"}, "token", "AZURE_OPENAI_AD_TOKEN"),
        (KEY | TOKEN, {"auth": "entra"}, "entra", None),
        (KEY | TOKEN, {"auth": "none"}, "none", None),
        (KEY | TOKEN | {"MINE": "m"}, {"auth": "token", "key_env": "MINE"}, "token", "MINE"),
        (TOKEN | {"MINE": "m"}, {"key_env": "MINE"}, "key", "MINE"),
        (KEY | TOKEN, {"key_env": "AZURE_OPENAI_AD_TOKEN"}, "token", "AZURE_OPENAI_AD_TOKEN"),
        (TOKEN, {"endpoint": "http://127.0.0.1:1/openai/v1"}, "token", "AZURE_OPENAI_AD_TOKEN"),
        (TOKEN, {"endpoint": "https://x.test/v1"}, "none", None),
        ({"AZURE_OPENAI_AD_TOKEN": ""}, {}, "entra", None),
    ],
)
def test_auto_is_the_key_else_a_ready_token_else_entra(env, options, chosen, variable):
    found = target(env, **options)

    assert (found.auth, found.key_env) == (chosen, variable)
    assert "a-token" not in repr(found)


@pytest.mark.parametrize(
    ("env", "options", "headers"),
    [
        (TOKEN, {}, {"authorization": "Bearer a-token"}),
        (TOKEN, {"api_version": "2024-10-21"}, {"authorization": "Bearer a-token"}),
        (KEY | TOKEN, {}, {"api-key": "a-key"}),
        (TOKEN | {"G": "g"}, {"header": ("x-gateway: env:G",)}, {"authorization": "Bearer a-token", "x-gateway": "g"}),
    ],
)
def test_a_ready_token_is_sent_as_a_bearer_token(env, options, headers):
    assert request_headers(target(env, **options), env) == headers


@pytest.mark.parametrize(
    ("env", "options", "sentence"),
    [
        (
            KEY,
            {"auth": "token"},
            "AZURE_OPENAI_AD_TOKEN is not set; set it to the token of the target, or name another with --key-env",
        ),
        (
            TOKEN,
            {"auth": "token", "endpoint": "https://x.test/v1"},
            "--auth token: Entra tokens are for Azure, and this target is an OpenAI-compatible server",
        ),
        (
            TOKEN,
            {"endpoint": "http://10.0.0.4/openai/v1"},
            (
                "--endpoint: the token in AZURE_OPENAI_AD_TOKEN would cross the network readable to all; use https, "
                "or --auth none"
            ),
        ),
        (
            TOKEN,
            {"file": {"endpoint": R, "deployment": "d"}},
            (
                "w.yaml: target.endpoint: the token in AZURE_OPENAI_AD_TOKEN is not sent to an endpoint that only a "
                "workload file names; name it with --endpoint, or say --trust-target, or --auth none"
            ),
        ),
        (
            {"OPENAI_API_KEY": "o"},
            {"auth": "token", "key_env": "OPENAI_API_KEY"},
            (
                "--key-env OPENAI_API_KEY: this key goes only to targets of the style openai; set "
                "AZURE_OPENAI_API_KEY, or say --api-style openai"
            ),
        ),
    ],
)
def test_a_token_that_is_missing_or_must_not_go_there_is_one_sentence(env, options, sentence):
    assert fault(env, **options) == sentence


def test_a_dry_run_needs_the_extra_that_the_run_would_need(monkeypatch):
    def missing(_authority):
        raise UsageError("--auth entra: azure-identity is not installed")

    monkeypatch.setattr(auth, "default_credential", missing)
    options = TargetOptions(endpoint=R, deployment="d", auth="entra")
    prepared = commands.prepare(commands.RunOptions(workload="chat", target=options), {})
    with pytest.raises(UsageError, match="azure-identity is not installed"):
        commands.dry_run(prepared)


def second(divert_to, env):
    first = target(env, endpoint=R)
    options = TargetOptions(endpoint=R, deployment="d", trust_target=True)
    return resolve_divert(divert_to, first, options, {}, env, workload_name="w.yaml", entra=True)


@pytest.mark.parametrize("env", [KEY, TOKEN, KEY | TOKEN])
def test_a_second_target_elsewhere_that_names_only_a_header_gets_only_that(env):
    env = env | {"G": "g"}
    found = second(
        {"endpoint": "https://s.openai.azure.com", "deployment": "s", "headers": {"x-gateway": "env:G"}}, env
    )

    assert request_headers(found, env) == {"x-gateway": "g"}


def test_a_second_deployment_beside_the_first_gets_its_token_and_scope():
    first = target({}, auth="entra", scope=CLASSIC)
    options = TargetOptions(endpoint=R, deployment="d")
    found = resolve_divert({"deployment": "s"}, first, options, {}, {}, workload_name="w.yaml", entra=True)

    assert (second({"deployment": "s"}, TOKEN).auth, found.auth) == ("token", "entra")
    assert auth.scope(found) == CLASSIC


# --- the scope


@pytest.mark.parametrize(
    ("options", "scope", "other"),
    [
        ({}, V1, CLASSIC),
        ({"api_version": "2024-10-21"}, CLASSIC, V1),
        ({"scope": CLASSIC}, CLASSIC, V1),
        ({"scope": "api://gateway/.default"}, "api://gateway/.default", V1),
        ({"endpoint": "https://r.openai.azure.us"}, "https://cognitiveservices.azure.us/.default", V1),
    ],
)
def test_the_scope_is_that_which_was_said_else_that_of_cloud_and_style(options, scope, other):
    found = target({}, auth="entra", **options)

    assert (auth.scope(found), auth.other_scope(found)) == (scope, other)
    assert found.sources.get("scope") == ("--scope" if "scope" in options else None)


@pytest.mark.parametrize(
    ("env", "options", "sentence"),
    [
        (
            {},
            {"auth": "entra", "scope": "https://ai.azure.com"},
            "--scope: `https://ai.azure.com` is not a scope; write one such as https://ai.azure.com/.default",
        ),
        (
            {},
            {"auth": "entra", "scope": "a b/.default"},
            "--scope: `a b/.default` is not a scope; write one such as https://ai.azure.com/.default",
        ),
        (
            KEY,
            {"scope": V1},
            "--scope: only Entra is asked for tokens, and the target gets a key; say --auth entra",
        ),
        (
            TOKEN,
            {"scope": V1},
            "--scope: only Entra is asked for tokens, and the target gets a ready one; say --auth entra",
        ),
        (
            {},
            {"simulate": "gpt-4.1:50", "scope": V1, "endpoint": None},
            "--scope: a simulated deployment is in no cloud of Azure's; leave it out",
        ),
    ],
)
def test_a_scope_that_is_none_or_of_no_use_is_one_sentence(env, options, sentence):
    assert fault(env, **options) == sentence


# --- a ready token that ends early


@pytest.mark.parametrize(
    ("life", "said"),
    [
        (2.0, r"AZURE_OPENAI_AD_TOKEN ends in \ds, before the load does, and is not renewed"),
        (-5.0, "AZURE_OPENAI_AD_TOKEN has ended, and is not renewed"),
        (3600.0, None),
    ],
)
def test_a_ready_token_that_ends_before_the_load_is_a_warning(life, said):
    workload = Workload(
        name="w",
        classes=(Class(prompt=Fixed(tokens=32), completion=Fixed(tokens=8)),),
        load=OpenLoop(stages=(Stage(value=1, seconds=60),)),
        duration=60.0,
        warmup=0.0,
    )
    env = {"AZURE_OPENAI_AD_TOKEN": web_token(exp=time.time() + life)}

    async def reached(base):
        found = target(env, endpoint=f"{base}/openai/v1/")
        aim = Aim(target=found, headers=request_headers(found, env), credential=None)
        async with contextlib.AsyncExitStack() as stack:
            return (await reach(aim, workload, stack, ca_file=None, say=print)).warnings

    with healthy_server() as server:
        warnings = asyncio.run(reached(server.base))

    assert len(warnings) == (said is not None)
    assert said is None or re.fullmatch(f"the token in {said}; set a new one, or use --auth entra", warnings[0])
