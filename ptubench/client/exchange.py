"""One request and its answer on the wire, as a client saw it. Times are readings of `time.perf_counter`."""

from array import array

from ptubench import __version__, histogram, secret
from ptubench.record import SPILLED
from ptubench.stream import chat
from ptubench.stream.apis import Answer
from ptubench.stream.refusal import Refusal

KEPT_HEADERS = frozenset(
    (
        "apim-request-id",
        "azure-openai-deployment-utilization",
        "retry-after",
        "retry-after-ms",
        "x-ms-deployment-name",
        "x-ms-region",
        "x-ms-spillover-error",
        SPILLED,
        "x-ptubench-simulated",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-request-id",
        "x-should-retry",
    )
)
"""Headers of an answer that say something about the service; no other is stored."""
_KEPT = frozenset(name.encode() for name in KEPT_HEADERS)


def fixed_headers(*, stream: bool) -> dict[str, str]:
    """The headers of every request, beside its secrets; names in lower case."""
    return {
        "user-agent": f"ptubench/{__version__}",
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",  # an answer is stamped and read as it comes
    }


class Failed(Exception):
    """An attempt failed for a named reason (`failures.FAILURES`)."""

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Exchange:
    """Filled in by a client while the exchange happens; readable at any moment (an exchange may be cut)."""

    __slots__ = (
        "answer",
        "answered",
        "connect_s",
        "end",
        "error",
        "failure",
        "flags",
        "headers",
        "http",
        "peer",
        "refused",
        "resent",
        "sent",
        "status",
        "tcp_s",
        "tls_s",
    )

    def __init__(self) -> None:
        self.resent = False
        self.answer: Answer = chat.Answer()  # a client of another API puts its own here
        self._clear()

    def restart(self) -> None:
        """Forget everything: as if it had never been sent."""
        self.answer = type(self.answer)()
        self._clear()

    def _clear(self) -> None:
        self.connect_s: float | None = None
        self.tls_s: float | None = None
        self.tcp_s: float | None = None  # the handshake alone: neither the look-up of the name nor what came to nothing
        self.peer: str | None = None
        self.http: str | None = None  # which version was spoken, from a client that has more than one
        self.sent: float | None = None
        self.answered: float | None = None
        self.end: float | None = None
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.failure: str | None = None
        self.error: str | None = None
        self.flags: tuple[str, ...] = ()
        self.refused: Refusal | None = None  # the field that a 400 names

    def fail(self, kind: str, text: str = "") -> None:
        """Name the failure; the first one stands."""
        if self.failure is None:
            self.failure = kind
            self.error = text or None

    def keep_header(self, name: bytes, value: bytes) -> None:
        """Store the header if it is one of those that say something; a repeated one is one with commas (RFC 9110, 5.3)."""
        if name.lower() in _KEPT:  # nearly all of an answer's headers are not, and need no text
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            if not text.isprintable():
                text = "".join(c for c in text if c.isprintable())
            self.headers[key] = (f"{self.headers[key]}, {text}" if key in self.headers else text)[:200]

    @property
    def spilled(self) -> bool:
        """Another deployment answers: its gaps are not the target's."""
        return SPILLED in self.headers

    def hide(self, secrets: tuple[str, ...]) -> None:
        """Take out what a server or a library has repeated of the request's secrets."""
        if not secrets:
            return
        answer = self.answer
        self.error = self.error and secret.hide(self.error, secrets)
        self.headers = {name: secret.hide(value, secrets) for name, value in self.headers.items()}
        answer.model = answer.model and secret.hide(answer.model, secrets)
        answer.finish = answer.finish and secret.hide(answer.finish, secrets)


class GapSink:
    """Where connections count content events and keep the times between them, until the owner takes them away."""

    __slots__ = ("_gaps", "events")

    def __init__(self) -> None:
        self._gaps = array("d")
        self.events = 0

    def content(self, at: float, last: float | None) -> None:
        """Count a content event, and the time since the one before it in its stream."""
        self.events += 1
        if last is not None:
            self._gaps.append(at - last)  # put into buckets all at once, which is far cheaper than one by one

    @property
    def counts(self) -> dict[int, int]:
        """The times between events so far, by bucket (`histogram`)."""
        return histogram.counts(self._gaps)

    def clear(self) -> None:
        """Begin again at nothing."""
        self._gaps, self.events = array("d"), 0
