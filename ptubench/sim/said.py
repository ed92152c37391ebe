"""What an answer says beside its content, the same over HTTP and on the virtual clock: headers, and refusals.

Knows no socket and no clock.
"""

import math
from typing import NamedTuple

from ptubench.sim import chat
from ptubench.sim.deployment import Call, Refused
from ptubench.sim.options import SimOptions
from ptubench.sim.spillover import Offered


class Refusal(NamedTuple):
    """The answer to a call that is not answered."""

    status: int
    body: bytes
    message: str
    headers: dict[str, str]


def common(options: SimOptions) -> dict[str, str]:
    """The headers of every answer, wherever it is made."""
    return {"x-ptubench-simulated": options.label}


def answered_by(offered: Offered, now: float, *, name: str, asked: str = "") -> dict[str, str]:
    """Who answers a call, and what is left of a quota.

    Args:
        offered: what became of the call, at `now`.
        now: by the deployment's clock.
        name: of the deployment that was called.
        asked: the deployment that the request itself wants to be spilled to; empty for none.
    """
    by, _, error = offered
    headers = {}
    if error is not None:
        headers["x-ms-spillover-from-deployment"] = name
        headers["x-ms-spillover-error"] = str(error)
        name = asked or by.options.deployment or name
    headers["x-ms-deployment-name"] = name
    if by.options.type == "standard":
        headers["x-ratelimit-limit-tokens"] = f"{by.capacity.tpm:.0f}"
        headers["x-ratelimit-remaining-tokens"] = str(by.remaining(now))
    return headers


def refusal(refused: Refused, call: Call, options: SimOptions) -> Refusal:
    """What a call is told that is not answered."""
    if refused.status == 400:
        too_long = chat.too_long(call.prompt, options.prompt_limit)
        return Refusal(400, too_long.body, str(too_long), {})
    if refused.retry_after_ms is None:
        message = "The service is temporarily unable to process your request. Please try again later."
        return Refusal(refused.status, chat.error(message, code=str(refused.status)), message, {})
    seconds = math.ceil(refused.retry_after_ms / 1000)
    message = f"The deployment is at its capacity. Please retry after {seconds} seconds."
    headers = {"retry-after": str(seconds), "retry-after-ms": str(refused.retry_after_ms)}
    return Refusal(429, chat.error(message, code="429"), message, headers)
