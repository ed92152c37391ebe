"""The official OpenAI SDK as the client of a run: its own retries, its own connection pool, as your application has them.

    pip install openai
    ptubench run chat --set client=examples.openai_client:chat --simulate gpt-4.1:50

It speaks chat completions, so without `--api responses`. Run it where `examples/` lies, or copy this file beside your workload and name it `openai_client:chat`. The URL and
the key are those of the run: `--endpoint`, `--deployment`, `AZURE_OPENAI_API_KEY`, `--auth entra`.
"""

from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from openai import APIError, AsyncAzureOpenAI, AsyncOpenAI

from ptubench.client.custom import Call

MAX_RETRIES = 2
"""What the SDK does when nothing else is said. With `on_429: retry` make it 0: calls would be retried twice over."""


async def chat(call: Call) -> AsyncIterator[str | Mapping[str, Any]]:
    """Stream a chat completion; `call.body` holds what ptubench would have posted itself."""
    client = _client(call.url, *_secret(call.headers))
    body = {"model": "named in the URL", **call.body}
    try:
        answer = await client.chat.completions.with_raw_response.create(**body)
    except APIError as exc:
        # Also what came to nothing was sent more than once: the SDK numbers its tries in a header of the request.
        yield {"retries": int(exc.request.headers.get("x-stainless-retry-count", 0))}
        raise
    yield {"headers": answer.headers, "retries": answer.retries_taken}
    async for chunk in answer.parse():
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content
            if choice.finish_reason:
                yield {"finish_reason": choice.finish_reason, "model": chunk.model}
        if chunk.usage:
            yield {"usage": chunk.usage.model_dump()}


def _secret(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The key or the Entra token with which ptubench would have sent the call; a token is renewed while a run lasts."""
    held = {name.lower(): value for name, value in headers.items()}
    token = held.get("authorization")
    return held.get("api-key"), token and token.removeprefix("Bearer ")


@lru_cache(maxsize=4)
def _client(url: str, key: str | None, token: str | None) -> AsyncOpenAI:
    """One SDK client for all calls with the same key, so that they share its connections."""
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    version = parse_qs(parts.query).get("api-version")
    if version is None:
        base = host + parts.path.removesuffix("/chat/completions")
        return AsyncOpenAI(base_url=base, api_key=key or token or "none", max_retries=MAX_RETRIES)
    return AsyncAzureOpenAI(
        azure_endpoint=host,
        azure_deployment=parts.path.split("/deployments/")[1].split("/")[0],
        api_version=version[0],
        api_key=key,
        azure_ad_token=None if key else token or "none",
        max_retries=MAX_RETRIES,
    )
