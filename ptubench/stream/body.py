"""The body of a request, with all that is constant in a run encoded once. No socket, no clock."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ptubench.stream.refusal import without


class Bodies:
    """Bodies of one run.

    Args:
        field: the field of the prompt: `messages` or `input`.
        limit_field: the field of the output limit.
        fields: everything else in the body.
        left_out: names of fields (`refusal.Refusal`) that are not sent, since the service refuses them.
    """

    def __init__(self, field: str, limit_field: str, fields: Mapping[str, Any], left_out: Iterable[str] = ()) -> None:
        for name in left_out:
            fields = without(fields, name)
        encoded = msgspec.json.encode(fields)[1:-1]
        self._head = f'{{"{field}":'.encode()
        self._tail = (b"," + encoded if encoded else b"") + b"}"
        self._limit = f',"{limit_field}":'.encode()

    def body(self, messages: bytes, limit: int | None) -> bytes:
        """The body for a JSON array of chat messages, with an output limit in tokens or none."""
        if limit is None:
            return self._head + messages + self._tail
        return b"".join((self._head, messages, self._limit, str(limit).encode(), self._tail))
