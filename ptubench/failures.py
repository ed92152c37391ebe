"""The failure kinds: every way in which an attempt can fail, by one name each.

A 429 is no failure but an outcome of its own. Statuses other than 200 and 429 are `http_<status>`.
"""

FAILURES = {
    "dns": "the host name could not be resolved",
    "refused": "the connection was refused",
    "connect": "the connection could not be opened for another reason",
    "no_socket": "this machine had no file or port left for another connection",
    "connect_timeout": "the connection was not open within `timeouts.connect`",
    "proxy": "the proxy refused or broke the tunnel",
    "tls": "the TLS handshake failed: wrong name, untrusted or expired certificate, protocol",
    "closed": "the connection was closed or reset before any byte of the answer",
    "first_byte_timeout": "no byte of the answer within `timeouts.first_byte`",
    "idle_timeout": "the answer stopped for longer than `timeouts.idle`",
    "total_timeout": "the answer was not complete within `timeouts.total`",
    "bad_http": "the answer is not HTTP/1.1",
    "headers_too_large": "the headers of the answer exceed 64 KiB",
    "redirect": "the target answered with a redirect, which is never followed: load goes only where it was aimed",
    "not_a_stream": "a 200 that is no event stream although one was asked for",
    "bad_event": "an event, or the body, is not the JSON of an answer",
    "event_too_large": "an event, or the body, exceeds 32 MiB",
    "stream_error": "an error event inside a stream that had begun with 200",
    "broken_stream": "the answer ended before it was complete",
    "empty": "a complete 200 without any content",
    "client_error": "the user's own client function raised an exception",
}

RENAMED = {"no_content": "empty"}
"""Kinds as older run files and rules name them, and what they are called now."""


def http(status: int) -> str:
    """The failure kind of a status that is neither 200 nor 429."""
    return "redirect" if 300 <= status < 400 else f"http_{status}"


def explain(kind: str) -> str:
    """One clause on a failure kind, for tables and docs."""
    return FAILURES.get(kind, f"the target answered with HTTP status {kind.removeprefix('http_')}")
