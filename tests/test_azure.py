"""What Azure says of a deployment: clouds, Azure Resource Manager, Azure Monitor, on a server of our own."""

import pytest

from azure_server import (
    ACCOUNT,
    CACHE_MATCH,
    FORBIDDEN,
    NAME,
    REQUESTS,
    SCOPE,
    TIME_TO_RESPONSE,
    UNAUTHORIZED,
    UTILIZATION,
    Clock,
    FakeCredential,
    Refusal,
    azure_server,
    throttled,
)
from ptubench.azure import arm, cloud, monitor, rest
from ptubench.client import auth
from ptubench.errors import TargetRefused, UsageError
from ptubench.target.model import Target, TargetOptions
from ptubench.target.resolve import resolve_target

MINUTE = 1_800_000_000 - 1_800_000_000 % 60
SPAN = (MINUTE, MINUTE + 180)


@pytest.fixture
def azure():
    with azure_server() as server:
        yield server


def deployment(azure, *, name=NAME, clock=None, credential=None):
    return rest.Deployment(by=azure.access(clock, credential), resource=ACCOUNT, name=name)


def each(value, minutes=3):
    return {MINUTE + 60 * k: float(value) for k in range(minutes)}


def target(**changes):
    return Target(**{"kind": "azure", "style": "v1", "endpoint": "e", "url": "u", "deployment": NAME} | changes)


# --- clouds


@pytest.mark.parametrize(
    ("host", "name", "management"),
    [
        ("r.openai.azure.com", "public", "https://management.azure.com"),
        ("r.services.ai.azure.com", "public", "https://management.azure.com"),
        ("R.OPENAI.AZURE.US", "usgov", "https://management.usgovcloudapi.net"),
        ("r.openai.azure.cn", "china", "https://management.chinacloudapi.cn"),
        ("gateway.example", "public", "https://management.azure.com"),
    ],
)
def test_the_cloud_is_told_by_the_endpoints_host(host, name, management):
    found = cloud.choose(None, host)

    assert (found.name, found.management) == (name, management)
    assert found.management_scope == f"{management}/.default"


def test_a_gateways_cloud_is_said_and_a_known_hosts_cloud_must_fit():
    assert cloud.choose("usgov", "gateway.example").name == "usgov"
    with pytest.raises(UsageError) as raised:
        cloud.choose("china", "r.openai.azure.us")

    assert (
        str(raised.value) == "--cloud china: the endpoint `r.openai.azure.us` is in the cloud usgov; leave --cloud out"
    )


def test_an_unknown_cloud_is_refused():
    with pytest.raises(UsageError) as raised:
        cloud.choose("mars", "gateway.example")

    assert str(raised.value) == "--cloud: `mars` is not one of public, usgov, china"


@pytest.mark.parametrize(
    ("said", "env", "expected"),
    [
        (False, {}, "login.microsoftonline.us"),
        (False, {"AZURE_AUTHORITY_HOST": "login.example"}, "login.example"),
        (True, {"AZURE_AUTHORITY_HOST": "login.example"}, "login.microsoftonline.us"),
    ],
)
def test_a_credential_signs_in_where_option_environment_or_host_say_in_this_order(said, env, expected):
    assert cloud.authority(cloud.CLOUDS["usgov"], said=said, env=env) == expected


@pytest.mark.parametrize(
    ("options", "scope"),
    [
        ({"endpoint": "https://r.openai.azure.us"}, "https://cognitiveservices.azure.us/.default"),
        (
            {"endpoint": "https://g.example/openai/v1", "cloud": "china"},
            "https://cognitiveservices.azure.cn/.default",
        ),
        ({"endpoint": "https://g.example/openai/v1"}, "https://ai.azure.com/.default"),
    ],
)
def test_tokens_for_a_target_are_of_its_cloud(options, scope):
    found = resolve_target(
        TargetOptions(deployment="d", auth="entra", **options), {}, {}, workload_name="w", entra=True
    )

    assert auth.scope(found) == scope


def test_an_openai_server_is_in_no_cloud():
    with pytest.raises(UsageError) as raised:
        resolve_target(
            TargetOptions(endpoint="http://127.0.0.1:1/v1", deployment="d", cloud="usgov"), {}, {}, workload_name="w"
        )

    assert str(raised.value) == "--cloud: an OpenAI-compatible server is in no cloud of Azure's; leave it out"


# --- Azure Resource Manager


def test_one_call_tells_what_the_deployment_is(azure):
    azure.deployment["properties"]["spilloverDeploymentName"] = "chat-standard"
    credential = FakeCredential()
    found = arm.before(deployment(azure, credential=credential))

    assert (found.sku, found.capacity, found.model, found.version) == (
        "GlobalProvisionedManaged",
        50,
        "gpt-4.1",
        "2025-04-14",
    )
    assert (found.spillover, found.content_filter, found.state) == ("chat-standard", "Microsoft.DefaultV2", "Succeeded")
    assert (len(azure.asked), credential.scopes) == (1, [SCOPE])


def test_the_name_of_a_deployment_is_quoted(azure):
    azure.deployment["name"] = "a b/c?"
    arm.before(deployment(azure, name="a b/c?"))

    assert azure.asked[0].path == f"{ACCOUNT}/deployments/a b/c?"


@pytest.mark.parametrize(
    ("sku", "capacity", "kind", "ptu"),
    [
        ("GlobalProvisionedManaged", 15, "global", 15),
        ("DataZoneProvisionedManaged", 20, "datazone", 20),
        ("ProvisionedManaged", 50, "regional", 50),
        ("GlobalStandard", 450, "standard", None),
        ("DataZoneStandard", 450, "standard", None),
        ("Standard", 120, "standard", None),
        ("OfTheFuture", 7, None, None),
    ],
)
def test_type_and_size_come_from_the_sku(azure, sku, capacity, kind, ptu):
    azure.deployment["sku"] = {"name": sku, "capacity": capacity}
    found = arm.filled(target(), arm.before(deployment(azure)))

    assert (found.type, found.ptu) == (kind, ptu)
    assert found.ptu_source == (None if ptu is None else "Azure Resource Manager")
    assert (found.model, found.version, found.resource) == ("gpt-4.1", "2025-04-14", ACCOUNT)


def test_what_azure_says_has_azure_as_its_source_and_what_was_typed_keeps_its_own(azure):
    azure.deployment["properties"]["spilloverDeploymentName"] = "chat-std"
    found = arm.filled(target(ptu=50, sources={"ptu": "--ptu"}), arm.before(deployment(azure)))
    parts = ("model", "version", "type", "spillover", "content_filter")

    assert found.sources == {"ptu": "--ptu"} | dict.fromkeys(parts, "Azure Resource Manager")


@pytest.mark.parametrize("model", ["gpt-4.1", "GPT-4.1", "gpt-4.1-2025-04-14"])
def test_typed_values_that_agree_are_kept(azure, model):
    found = arm.filled(target(model=model, ptu=50, type="global"), arm.before(deployment(azure)))

    assert (found.model, found.ptu, found.type) == ("gpt-4.1", 50, "global")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"ptu": 100}, "--ptu: `100` contradicts what Azure Resource Manager says of chat-ptu: `50`"),
        ({"type": "regional"}, "--type: `regional` contradicts what Azure Resource Manager says of chat-ptu: `global`"),
        ({"model": "gpt-4o"}, "--model: `gpt-4o` contradicts what Azure Resource Manager says of chat-ptu: `gpt-4.1`"),
        (
            {"model": "gpt-4.1-2024-01-01", "sources": {"model": "w: target.model"}},
            "w: target.model: `gpt-4.1-2024-01-01` contradicts what Azure Resource Manager says of chat-ptu: `gpt-4.1`",
        ),
    ],
)
def test_typed_values_that_differ_are_refused_naming_both(azure, typed, said):
    with pytest.raises(UsageError) as raised:
        arm.filled(target(**typed), arm.before(deployment(azure)))

    assert str(raised.value) == f"{said}; leave it out, or check --resource and --deployment"


def test_a_typed_size_contradicts_a_standard_deployment(azure):
    azure.deployment["sku"] = {"name": "GlobalStandard", "capacity": 450}
    with pytest.raises(UsageError) as raised:
        arm.filled(target(ptu=50), arm.before(deployment(azure)))

    assert "--ptu: `50 PTU` contradicts" in str(raised.value)
    assert "`GlobalStandard, which has no PTU`" in str(raised.value)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (
            UNAUTHORIZED,
            (
                "answered 401 (InvalidAuthenticationToken: The access token is invalid.); sign in with `az login` to the "
                "tenant of the subscription, or name its cloud with --cloud"
            ),
        ),
        (
            FORBIDDEN,
            (
                "answered 403 (AuthorizationFailed: The client does not have authorization to perform action "
                "'Microsoft.Insights/metrics/read'.); give your identity the role Reader on the resource; a new role "
                "takes some minutes to hold"
            ),
        ),
        (
            Refusal(404, {"error": {"code": "ResourceGroupNotFound", "message": "gone"}}),
            "answered 404 (ResourceGroupNotFound: gone); check the resource ID, the name of the deployment and --cloud",
        ),
        (Refusal(200, b"<html>"), "the answer is no JSON; check HTTPS_PROXY"),
        (
            Refusal(200, {"sku": {"capacity": "many"}}),
            "the answer is no deployment (Expected `int | null`, got `str` - at `$.sku.capacity`); check --resource",
        ),
        (Refusal(302, b"", {"location": "http://127.0.0.1:1/"}), "answered 302; check the resource ID"),
    ],
)
def test_a_look_up_that_fails_is_one_sentence_with_azures_words_and_the_way_out(azure, refusal, said):
    azure.script = [refusal]
    with pytest.raises(TargetRefused) as raised:
        arm.before(deployment(azure))

    assert str(raised.value) == f"--resource: {azure.base}: {said}"


def test_what_azure_says_is_cleaned_and_hides_what_looks_like_a_secret(azure):
    leak = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmYWtlIn0"
    azure.script = [
        Refusal(400, {"error": {"code": "Bad", "message": "line\r\n\x1b[31mred"}}),
        Refusal(400, {"error": {"code": "Bad", "message": f"token {leak} is bad"}}),
    ]
    said = []
    for _ in range(2):
        with pytest.raises(TargetRefused) as raised:
            arm.before(deployment(azure))
        said.append(str(raised.value))

    assert "(Bad: line [31mred)" in said[0]
    assert "(not shown)" in said[1]
    assert leak not in said[1]


def test_a_credential_without_a_token_is_one_sentence():
    with azure_server() as azure, pytest.raises(TargetRefused) as raised:
        arm.before(deployment(azure, credential=FakeCredential(fault="no account\ntrace")))

    assert str(raised.value) == (
        f"--resource: Entra gave no token for {SCOPE}: no account; sign in with `az login` to the tenant of the "
        "subscription, or name its cloud with --cloud"
    )
    assert azure.asked == []


def test_entras_own_reason_is_told_and_not_only_that_the_whole_chain_was_tried():
    fault = (
        "DefaultAzureCredential failed to retrieve a token from the included credentials.\n"
        "Attempted credentials:\n"
        "\tEnvironmentCredential: Authentication failed: AADSTS7000222: The provided client secret keys are expired.\n"
        "To mitigate this issue, please refer to the troubleshooting guidelines"
    )
    with pytest.raises(TargetRefused) as raised:
        auth.token(FakeCredential(fault=fault), SCOPE, way_out="sign in")

    assert str(raised.value) == (
        f"Entra gave no token for {SCOPE}: EnvironmentCredential: Authentication failed: AADSTS7000222: The provided "
        "client secret keys are expired; sign in"
    )


def test_a_throttled_look_up_waits_as_long_as_it_is_told(azure):
    clock = Clock()
    azure.script = [throttled(7), Refusal(503)]
    found = arm.before(deployment(azure, clock=clock))

    assert found.capacity == 50
    assert clock.slept == [7.0, 4.0]


def test_a_wait_that_is_too_long_ends_the_look_up(azure):
    clock = Clock()
    azure.script = [throttled(300)]
    with pytest.raises(TargetRefused) as raised:
        arm.before(deployment(azure, clock=clock))

    assert str(raised.value).endswith(
        "answered 429 (TooManyRequests: The request is being throttled.); ask again later"
    )
    assert clock.slept == []


def test_nobody_there_is_one_sentence():
    with azure_server() as azure:
        pass
    with pytest.raises(TargetRefused) as raised:
        arm.before(deployment(azure))

    assert "can't be reached (ConnectError: " in str(raised.value)


def test_after_the_load_a_failed_look_up_is_a_line(azure):
    azure.script = [FORBIDDEN]
    found = arm.after(deployment(azure))

    assert (found.when, found.capacity) == ("after", None)
    assert "answered 403" in found.error


@pytest.mark.parametrize("text", [ACCOUNT, f" {ACCOUNT}/ ", ACCOUNT.replace("resourceGroups", "resourcegroups")])
def test_a_resource_id_is_taken(text):
    assert arm.check_id(text) == text.strip().rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "contoso",
        f"{ACCOUNT}/deployments/x",
        f"{ACCOUNT}?x=1",
        f"{ACCOUNT}/../other",
        "https://contoso.openai.azure.com",
        ACCOUNT.replace("Microsoft.CognitiveServices", "Microsoft.Compute"),
        "",
    ],
)
def test_what_is_no_resource_id_is_refused(text):
    with pytest.raises(UsageError) as raised:
        arm.check_id(text)

    assert str(raised.value).startswith("--resource: `")
    assert str(raised.value).endswith("/providers/Microsoft.CognitiveServices/accounts/NAME")


# --- Azure Monitor: one question


def test_minutes_are_those_that_a_span_touches():
    assert monitor.minutes(MINUTE + 10, MINUTE + 130) == (MINUTE, MINUTE + 180)
    assert monitor.minutes(MINUTE, MINUTE + 60) == (MINUTE, MINUTE + 60)


def test_figures_come_per_minute_with_their_dimensions(azure):
    azure.levels = {UTILIZATION: each(74.2), TIME_TO_RESPONSE: each(480)}
    azure.sums = {"ProcessedPromptTokens": each(9000), "ActiveTokens": each(8000)}
    azure.requests = {("200", "False"): each(40), ("429", "False"): each(5)}
    found = monitor.ask(deployment(azure), SPAN)
    by_metric = {(series.metric, *sorted(series.dimensions.items())): series for series in found.series}

    assert by_metric[UTILIZATION,].average == each(74.2)
    assert by_metric["ActiveTokens",].total == each(8000)
    assert by_metric[REQUESTS, ("isspillover", "False"), ("statuscode", "429")].total == each(5)
    assert (found.errors, found.stable, found.span) == ({}, False, SPAN)


def test_a_round_is_three_calls_that_mix_no_aggregations(azure):
    monitor.ask(deployment(azure), SPAN)
    calls = [(asked.query["metricnames"].split(","), asked.query["aggregation"]) for asked in azure.asked]

    assert calls == [
        ([UTILIZATION, CACHE_MATCH, TIME_TO_RESPONSE], "Average,Maximum"),
        (["ProcessedPromptTokens", "GeneratedTokens", "ActiveTokens"], "Total"),
        ([REQUESTS], "Total"),
    ]
    assert (
        azure.asked[2].query["$filter"]
        == f"ModelDeploymentName eq '{NAME}' and StatusCode eq '*' and IsSpillover eq '*'"
    )


def test_more_series_come_than_azure_gives_unasked(azure):
    azure.requests = {(str(400 + k), "False"): each(1) for k in range(30)}
    found = monitor.ask(deployment(azure), SPAN)

    assert sum(series.metric == REQUESTS for series in found.series) == 30


def test_a_quote_in_a_name_stays_inside_the_filter(azure):
    azure.deployment["name"] = "it's"
    azure.levels = {UTILIZATION: each(10)}
    found = monitor.ask(deployment(azure, name="it's"), SPAN)

    assert [series.average for series in found.series] == [each(10)]


def test_a_metric_that_fails_leaves_the_others_standing(azure):
    azure.levels = {UTILIZATION: each(50)}
    azure.failing = {CACHE_MATCH: ("InternalError", "try\nlater")}
    found = monitor.ask(deployment(azure), SPAN)

    assert [series.metric for series in found.series] == [UTILIZATION]
    assert found.errors == {CACHE_MATCH: "Azure Monitor says InternalError: try later"}


def test_a_metric_that_the_account_lacks_leaves_the_others_standing(azure):
    azure.levels = {UTILIZATION: each(50), TIME_TO_RESPONSE: each(480)}
    azure.missing = {CACHE_MATCH}
    found = monitor.ask(deployment(azure), SPAN)

    assert {series.metric for series in found.series} == {UTILIZATION, TIME_TO_RESPONSE}
    assert list(found.errors) == [CACHE_MATCH]


def test_a_dimension_that_the_account_lacks_is_left_out(azure):
    azure.requests = {("200", "False"): each(40)}
    azure.unsplit = {"isspillover"}
    found = monitor.ask(deployment(azure), SPAN)

    assert [(series.dimensions, series.total) for series in found.series] == [({"statuscode": "200"}, each(40))]
    assert found.errors == {}


def test_no_series_is_no_figure_and_no_error(azure):
    found = monitor.ask(deployment(azure), SPAN)

    assert (found.series, found.errors) == ((), {})


def test_values_outside_the_span_and_times_that_are_none_are_left_out(azure):
    data = [{"timeStamp": text, "average": 1.0} for text in ("2001-01-01T00:00:00Z", "soon", "2027-01-15T08:00:00Z")]
    value = {"name": {"value": UTILIZATION}, "timeseries": [{"data": data}]}
    azure.script = [Refusal(200, {"value": [value]})]
    found = monitor.before(deployment(azure), MINUTE + 119)

    assert [series.average for series in found.series] == [{MINUTE: 1.0}]


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, FORBIDDEN])
def test_who_may_not_ask_learns_it_before_the_load(azure, refusal):
    azure.script = [refusal]
    with pytest.raises(TargetRefused) as raised:
        monitor.before(deployment(azure), MINUTE + 30)

    assert str(raised.value).startswith(f"--monitor: {azure.base}: answered {refusal.status}")
    assert ("the role Monitoring Reader" in str(raised.value)) == (refusal is FORBIDDEN)


@pytest.mark.parametrize("refusal", [throttled(300), Refusal(500, {"code": "Oops", "message": "broken"})])
def test_a_passing_failure_before_the_load_is_no_reason_not_to_run(azure, refusal):
    azure.script = [refusal] * 5
    found = monitor.before(deployment(azure), MINUTE + 30)

    assert f"answered {refusal.status}" in found.errors[UTILIZATION]


def test_the_five_full_minutes_before_a_load_are_looked_at(azure):
    azure.levels = {UTILIZATION: {MINUTE - 60 * k: 12.0 for k in range(10)}}
    found = monitor.before(deployment(azure), MINUTE + 59)

    assert found.span == (MINUTE - 300, MINUTE)
    assert sorted(found.series[0].average) == [MINUTE - 60 * k for k in (5, 4, 3, 2, 1)]


# --- Azure Monitor: the wait


def waited(azure, wait=300.0, **options):
    clock, said = Clock(), []
    options = {"last": MINUTE + 120, "say": said.append} | options
    found = monitor.settled(deployment(azure, clock=clock), SPAN, wait=wait, **options)
    return found, clock, said


def test_figures_are_waited_for_until_two_answers_are_the_same(azure):
    azure.requests = {("200", "False"): each(40)}
    found, clock, said = waited(azure)

    assert (found.stable, len(azure.polls), clock.slept) == (True, 2, [20.0])
    assert said == [
        "waiting for Azure Monitor's figures, at most 5m more: they may still change; Ctrl-C ends the wait",
    ]


def test_late_figures_are_waited_for(azure):
    azure.requests = {("200", "False"): each(40)}
    azure.late = 2
    found, _, said = waited(azure)

    assert (found.stable, len(azure.polls)) == (True, 4)
    assert "the last minute is not there yet" in said[0]


def test_figures_without_the_last_minute_are_not_final(azure):
    azure.requests = {("200", "False"): each(40, minutes=2)}
    found, clock, _ = waited(azure, wait=60.0)

    assert (found.stable, sum(clock.slept)) == (False, 60.0)
    assert found.series[0].total == each(40, minutes=2)


@pytest.mark.parametrize("failing", [{"missing": {CACHE_MATCH}}, {"failing": {CACHE_MATCH: ("InternalError", "no")}}])
def test_a_metric_that_keeps_failing_keeps_nobody_waiting(azure, failing):
    azure.requests = {("200", "False"): each(40)}
    for name, value in failing.items():
        setattr(azure, name, value)
    found, clock, _ = waited(azure)

    assert (found.stable, clock.slept) == (True, [20.0])
    assert list(found.errors) == [CACHE_MATCH]


def test_without_a_wait_azure_is_asked_once(azure):
    azure.requests = {("200", "False"): each(40)}
    found, clock, said = waited(azure, wait=0.0)

    assert (found.stable, len(azure.polls), clock.slept, said) == (False, 1, [], [])


def test_a_throttled_question_waits_as_long_as_it_is_told(azure):
    azure.requests = {("200", "False"): each(40)}
    azure.script = [throttled(90)]
    found, clock, _ = waited(azure)

    assert (found.stable, clock.slept) == (True, [90.0, 20.0])


def test_a_throttled_question_without_time_to_wait_keeps_what_is_there(azure):
    azure.requests = {("200", "False"): each(40)}
    azure.script = [None, None, None, throttled(900)]
    found, clock, said = waited(azure)

    assert (found.stable, clock.slept) == (False, [20.0])
    assert found.series[0].total == each(40)
    assert said[-1].endswith("answered 429 (TooManyRequests: The request is being throttled.); ask again later")


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, FORBIDDEN])
def test_who_may_not_ask_waits_for_nothing(azure, refusal):
    azure.script = [refusal]
    with pytest.raises(rest.Failure) as raised:
        waited(azure)

    assert str(raised.value).startswith(f"{azure.base}: answered {refusal.status}")
    assert len(azure.asked) == 1


def test_failures_that_pass_are_waited_for_no_longer_than_said(azure):
    azure.script = [Refusal(503)] * 100
    _, clock, _ = waited(azure, wait=60.0)

    assert clock.now <= 60


def test_ctrl_c_ends_the_wait_and_keeps_what_is_there(azure):
    azure.requests = {("200", "False"): each(40)}

    def interrupted(line):
        said.append(line)
        if len(said) == 1:
            raise KeyboardInterrupt

    said = []
    found, _, _ = waited(azure, say=interrupted)

    assert found.series[0].total == each(40)
    assert said[-1].startswith("the wait for Azure Monitor's figures was ended")
