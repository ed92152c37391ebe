"""The APIs that a target may be asked by: where each is posted, how its bodies are written and its answers read."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ptubench.stream import chat, responses
from ptubench.stream.body import Bodies


class Api(NamedTuple):
    """One API."""

    path: str
    """What the URL ends in."""
    title: str
    """What messages call it."""
    prompt: Callable[[bytes], bytes]
    """A JSON array of chat messages as the API has them; ValueError for what it has no form for."""
    body_maker: type[Bodies]
    """What writes the bodies of one run."""
    answer: type[chat.Answer] | type[responses.Answer]
    """What reads one answer."""
    limit_fields: tuple[str, ...]
    """Names of the output limit, the one to try first in front."""
    least_limit: int
    """The smallest output limit that is accepted, in tokens."""


APIS = {
    "chat": Api(
        path="/chat/completions",
        title="chat completions",
        prompt=bytes,
        body_maker=chat.BodyMaker,
        answer=chat.Answer,
        limit_fields=("max_completion_tokens", "max_tokens"),
        least_limit=1,
    ),
    "responses": Api(
        path="/responses",
        title="Responses",
        prompt=responses.as_input,
        body_maker=responses.BodyMaker,
        answer=responses.Answer,
        limit_fields=("max_output_tokens",),
        least_limit=responses.LEAST_LIMIT,
    ),
}
"""By the name that `--api` takes."""


def reasoning_effort(parameters: Mapping[str, Any]) -> str | None:
    """How hard a model is asked to think, by parameters as either API names them; None leaves it to the model."""
    grouped = parameters.get("reasoning")
    effort = grouped.get("effort") if isinstance(grouped, Mapping) else None
    effort = parameters.get("reasoning_effort") if effort is None else effort
    return effort if isinstance(effort, str) else None


Answer = chat.Answer | responses.Answer
