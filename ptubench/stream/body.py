"""The body of a request, with all that is constant in a run encoded once. No socket, no clock."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from ptubench.stream.refusal import without


class Bodies:
    """Bodies of one run; each API says in a subclass how they are written.

    Args:
        model: the `model` field, or None where the URL names the deployment.
        limit_field: the field of the output limit.
        stream: whether to ask for an event stream.
        parameters: further fields, as the workload gives them.
        left_out: names of fields (`refusal.Refusal`) that are not sent, since the service refuses them.
    """

    prompt_field: ClassVar[str]
    streamed: ClassVar[Mapping[str, Any]]
    """The fields that ask for an event stream."""

    def __init__(
        self,
        *,
        model: str | None,
        limit_field: str,
        stream: bool,
        parameters: Mapping[str, Any],
        left_out: Iterable[str] = (),
    ) -> None:
        fields: dict[str, Any] = {} if model is None else {"model": model}
        fields |= self.placed(parameters)
        if stream:
            fields |= self.streamed
        for name in left_out:
            fields = without(fields, name)
        encoded = msgspec.json.encode(fields)[1:-1]
        self._head = f'{{"{self.prompt_field}":'.encode()
        self._tail = (b"," + encoded if encoded else b"") + b"}"
        self._limit = f',"{limit_field}":'.encode()

    def placed(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, each where the API has it."""
        return parameters

    def body(self, messages: bytes, limit: int | None) -> bytes:
        """The body for a JSON array of chat messages, with an output limit in tokens or none."""
        if limit is None:
            return self._head + messages + self._tail
        return b"".join((self._head, messages, self._limit, str(limit).encode(), self._tail))
