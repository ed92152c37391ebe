"""Azure's management on this machine: Azure Resource Manager and Azure Monitor in their documented shapes.

It is as strict as they are: a wrong token, version, name or aggregation is refused in their words.
"""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ptubench.azure.rest import Access

ACCOUNT = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/bench"
    "/providers/Microsoft.CognitiveServices/accounts/contoso"
)
NAME = "chat-ptu"
TOKEN = "fake-management-token"
SCOPE = "https://management.azure.com/.default"

UTILIZATION = "AzureOpenAIProvisionedManagedUtilizationV2"
CACHE_MATCH = "AzureOpenAIContextTokensCacheMatchRate"
TIME_TO_RESPONSE = "AzureOpenAITimeToResponse"
REQUESTS = "AzureOpenAIRequests"
_LEVEL, _SUM = {"average", "maximum", "minimum"}, {"total"}
METRICS = {
    UTILIZATION: ("Percent", _LEVEL),
    CACHE_MATCH: ("Percent", _LEVEL),
    TIME_TO_RESPONSE: ("MilliSeconds", _LEVEL),
    "ProcessedPromptTokens": ("Count", _SUM),
    "GeneratedTokens": ("Count", _SUM),
    "ActiveTokens": ("Count", _LEVEL | _SUM),
    REQUESTS: ("Count", _SUM),
}
SPLITS = {REQUESTS: {"statuscode", "isspillover"}}

_LONGEST = 31 * 86_400
"""Of a longer span only the last part is answered, without a word (Azure/azure-sdk-for-python issue 13547)."""

Values = dict[int, float]
"""By the start of the minute, in seconds since the epoch."""


@dataclass
class FakeCredential:
    """Gives the token that the server takes."""

    token: str = TOKEN
    fault: str | None = None
    scopes: list[str] = field(default_factory=list)

    def get_token(self, *scopes):
        self.scopes += scopes
        if self.fault:
            raise RuntimeError(self.fault)

        @dataclass
        class Token:
            token: str = self.token
            expires_on: int = 2**31

        return Token()


@dataclass
class Clock:
    """Time that passes only where somebody sleeps."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def time(self):
        return self.now


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    query: dict[str, str]


@dataclass(frozen=True)
class Refusal:
    """An answer in place of the proper one."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


UNAUTHORIZED = Refusal(
    401, {"error": {"code": "InvalidAuthenticationToken", "message": "The access token is invalid."}}
)
FORBIDDEN = Refusal(
    403,
    {
        "error": {
            "code": "AuthorizationFailed",
            "message": "The client does not have authorization to perform action 'Microsoft.Insights/metrics/read'.",
        }
    },
)


def throttled(seconds: int) -> Refusal:
    """A 429 of Azure Resource Manager."""
    body = {"error": {"code": "TooManyRequests", "message": "The request is being throttled."}}
    return Refusal(429, body, {"Retry-After": str(seconds)})


@dataclass
class Azure:
    """What the server knows, to be changed at will; and what it was asked."""

    base: str = ""
    deployment: dict[str, Any] = field(
        default_factory=lambda: {
            "id": f"{ACCOUNT}/deployments/{NAME}",
            "name": NAME,
            "type": "Microsoft.CognitiveServices/accounts/deployments",
            "sku": {"name": "GlobalProvisionedManaged", "capacity": 50},
            "properties": {
                "model": {"format": "OpenAI", "name": "gpt-4.1", "version": "2025-04-14"},
                "raiPolicyName": "Microsoft.DefaultV2",
                "versionUpgradeOption": "NoAutoUpgrade",
                "provisioningState": "Succeeded",
                "currentCapacity": 50,
            },
        }
    )
    levels: dict[str, Values] = field(default_factory=dict)
    """Percent and milliseconds, by metric."""
    sums: dict[str, Values] = field(default_factory=dict)
    requests: dict[tuple[str, str], Values] = field(default_factory=dict)
    """By status code and whether spilled ("True", "False")."""
    missing: set[str] = field(default_factory=set)
    """Metrics that the account does not have: a call that names one is refused."""
    unsplit: set[str] = field(default_factory=set)
    """Dimensions that it does not have, likewise."""
    failing: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Metrics that fail inside a good answer: code and message."""
    kept_from: int = 0
    """Seconds since the epoch; a question about what was before is refused."""
    late: int = 0
    """Rounds of questions about a run that are answered with nothing before the values appear."""
    script: list[Refusal | None] = field(default_factory=list)
    """What the next requests get; None is a proper answer, as after the last of them."""
    asked: list[Asked] = field(default_factory=list)

    @property
    def polls(self) -> list[Asked]:
        """The questions about requests: one of a round."""
        return [asked for asked in self.asked if asked.query.get("metricnames") == REQUESTS]

    def access(self, clock: Clock | None = None, credential: FakeCredential | None = None) -> Access:
        """A way to it on which no real time passes."""
        time = clock or Clock()
        return Access(
            management=self.base,
            credential=credential or FakeCredential(),
            scope=SCOPE,
            sleep=time.sleep,
            clock=time.time,
        )

    def answer(self, asked: Asked, token: str | None) -> Refusal:
        """What it says to one request."""
        self.asked.append(asked)
        scripted = self.script.pop(0) if self.script else None
        if scripted is not None:
            return scripted
        if token != f"Bearer {TOKEN}":
            return UNAUTHORIZED
        if asked.path.startswith(f"{ACCOUNT}/deployments/"):
            return self._deployment(asked)
        if asked.path == f"{ACCOUNT}/providers/Microsoft.Insights/metrics":
            return self._metrics(asked.query)
        return Refusal(404, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}})

    def _deployment(self, asked: Asked) -> Refusal:
        if asked.query.get("api-version") != "2025-06-01":
            return Refusal(
                400, {"error": {"code": "InvalidApiVersionParameter", "message": "The api-version is invalid."}}
            )
        if asked.path != f"{ACCOUNT}/deployments/{self.deployment['name']}":
            message = "The deployment 'x' was not found."
            return Refusal(404, {"error": {"code": "DeploymentNotFound", "message": message}})
        return Refusal(200, self.deployment)

    def _metrics(self, query: dict[str, str]) -> Refusal:
        names = query["metricnames"].split(",")
        aggregations = {name.lower() for name in query["aggregation"].split(",")}
        conditions = dict(re.findall(r"(\w+) eq '((?:[^']|'')*)'", query["$filter"]))
        split = {name.lower() for name, value in conditions.items() if value == "*"}
        if self.missing & set(names):
            return _bad(f"Failed to find metric configuration for metric: {(self.missing & set(names)).pop()}")
        if not all(aggregations <= METRICS[name][1] for name in names):
            return _bad("Detected unsupported aggregation types")
        if split & self.unsplit or not all(split <= SPLITS.get(name, set()) for name in names):
            return _bad("Metric does not support requested dimension combination")
        if query["api-version"] != "2023-10-01" or query["interval"] != "PT1M" or len(names) > 20:
            return _bad("The request is invalid")
        start, end = (int(datetime.fromisoformat(text).timestamp()) for text in query["timespan"].split("/"))
        if start < self.kept_from:
            return _bad("Query startTime is out of the Max metrics retention period: 93.00:00:00")
        start = max(start, end - _LONGEST)
        ours = conditions.get("ModelDeploymentName", "").replace("''", "'") == self.deployment["name"]
        late = self.late > 0 and len(self.polls) <= self.late and names != [UTILIZATION]
        return Refusal(
            200,
            {
                "cost": 0,
                "timespan": query["timespan"],
                "interval": "PT1M",
                "namespace": query["metricnamespace"],
                "resourceregion": "swedencentral",
                "value": [
                    self._metric(
                        name,
                        range(start, end, 60),
                        split,
                        aggregations,
                        most=int(query.get("top", "10")),
                        told=ours and not late,
                    )
                    for name in names
                ],
            },
        )

    def _metric(self, name, minutes, split, aggregations, *, most, told) -> dict[str, Any]:
        code, message = self.failing.get(name, ("Success", None))
        series = [] if name in self.failing or not told else self._series(name, minutes, split, aggregations)
        return {
            "id": f"{ACCOUNT}/providers/Microsoft.Insights/metrics/{name}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": name, "localizedValue": name},
            "unit": METRICS[name][0],
            "timeseries": series[:most],
            "errorCode": code,
        } | ({} if message is None else {"errorMessage": message})

    def _series(self, name, minutes, split, aggregations) -> list[dict[str, Any]]:
        if name != REQUESTS:
            values = self.levels.get(name, self.sums.get(name))
            return [] if values is None else [_one({}, minutes, values, aggregations)]
        parts: dict[tuple[str, ...], Values] = {}
        for (status, spilled), values in self.requests.items():
            known = {"statuscode": status, "isspillover": spilled}
            key = tuple(f"{dimension}={known[dimension]}" for dimension in sorted(split))
            into = parts.setdefault(key, {})
            for minute, value in values.items():
                into[minute] = into.get(minute, 0.0) + value
        return [
            _one(dict(pair.split("=") for pair in key), minutes, values, aggregations) for key, values in parts.items()
        ]


def _one(dimensions, minutes, values, aggregations) -> dict[str, Any]:
    """A time series; a minute without a value has a time stamp alone."""
    return {
        "metadatavalues": [
            {"name": {"value": name, "localizedValue": name}, "value": value} for name, value in dimensions.items()
        ],
        "data": [
            {"timeStamp": datetime.fromtimestamp(minute, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            | (dict.fromkeys(aggregations, values[minute]) if minute in values else {})
            for minute in minutes
        ],
    }


def _bad(message: str) -> Refusal:
    """A 400 of Azure Monitor, whose errors are not wrapped."""
    return Refusal(400, {"code": "BadRequest", "message": message})


@contextlib.contextmanager
def azure_server() -> Iterator[Azure]:
    """One that listens on 127.0.0.1."""
    azure = Azure()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}
            answer = azure.answer(Asked(unquote(parts.path), query), self.headers.get("authorization"))
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        azure.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield azure
        finally:
            server.shutdown()
            thread.join(10)
