"""What a target accepts of a request, learned from its answers to the probe: the name of the limit, and which fields not.

A refused field is left out where the run then still measures what it was asked to; bounded, and said. Knows no client.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from ptubench.client.exchange import Exchange
from ptubench.stream.refusal import Refusal, has

MOST_LEFT_OUT = 12

_OWN = ("stream_options", "stream_options.include_usage")
"""Fields that ptubench adds by itself: also unknown to a service they are no mistake of the user's."""
_MEASURED = frozenset(
    (
        *("model", "messages", "input", "instructions", "stream", "n", "tools", "functions", "service_tier"),
        *("response_format", "text", "text.format", "prediction", "modalities", "background", "conversation"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "store"),
    )
)
"""Never left out: without them something else would be asked of the model, or kept by the service."""
_CHOSEN = frozenset(
    ("reasoning", "reasoning.effort", "reasoning_effort", "verbosity", "text.verbosity", "stop", "tool_choice")
)
"""Left out only where the model has no such parameter: of several values the user must choose another one."""


class Accepted(NamedTuple):
    """What the bodies of a run are made with."""

    limit_field: str
    left_out: dict[str, str]
    """Names of the fields that are not sent, and what the service said of each."""


Call = Callable[[Accepted], Awaitable[tuple[bytes, Exchange]]]
"""Sends one call, made with what is known so far; the body as it was sent, and what came of it."""


async def learn(call: Call, limit_fields: tuple[str, ...], limit: int) -> tuple[Accepted, Exchange]:
    """Ask until the target has no more to refuse that could be done without; also the last exchange.

    Args:
        call: sends one call.
        limit_fields: names of the output limit, the one to try first in front.
        limit: the output limit of the calls.
    """
    names, known = list(limit_fields), Accepted(limit_fields[0], {})
    while True:
        body, exchange = await call(known)
        if _limit_refused(exchange, limit_fields, limit):
            names.remove(known.limit_field)
            if not names:
                return known._replace(limit_field=limit_fields[0]), exchange
            known = known._replace(limit_field=names[0])
        elif (field := _dispensable(exchange, body)) is not None and len(known.left_out) < MOST_LEFT_OUT:
            known = known._replace(left_out={**known.left_out, field: exchange.error or ""})
        else:
            return known, exchange


def sentence(field: str, said: str) -> str:
    """What is said of a field that was left out."""
    lost = "; no stream tells its tokens" if field in _OWN else ""
    return f"the target refuses `{field}` ({said}); the run goes on without it{lost}"


def _limit_refused(exchange: Exchange, names: tuple[str, ...], limit: int) -> bool:
    """Whether the target wants its output limit under another of its names, or has passed over this one."""
    if exchange.status == 400:
        return any(name in (exchange.error or "") for name in names)
    # An event holds at least a token: without usage their number tells enough.
    got = max(exchange.answer.completion_tokens or 0, exchange.answer.content_events)
    return exchange.failure is None and got > limit


def _dispensable(exchange: Exchange, body: bytes) -> str | None:
    """The field of the body that was refused, if the run can do without it."""
    refused: Refusal | None = exchange.refused
    fields: dict[str, Any] = msgspec.json.decode(body)
    if refused is None or not has(fields, refused.field):
        return None
    if refused.field in _OWN:
        return refused.field
    kept = _MEASURED if refused.why == "parameter" else _MEASURED | _CHOSEN
    return None if refused.why == "unknown" or refused.field in kept else refused.field
