"""The stub behind TLS: the same server, its sockets wrapped.

    python benchmarks/stub_tls.py --pem FILE --cpu 1 --ttft 0.1 --tokens 100 --rate 50

FILE holds a certificate and its key. Handshakes are made as they come, between the events that are due.
"""

import socket
import ssl
import sys
from typing import Any, cast

from ptubench.sim.flat_out import Server, main

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class _Secure:
    """A socket whose `recv` and `send` say "not now" as plain ones do."""

    def __init__(self, wrapped: ssl.SSLSocket) -> None:
        self._socket = wrapped
        self._shaken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """What has come, whole records; the handshake first."""
        try:
            if not self._shaken:
                self._socket.do_handshake()
                self._shaken = True
            data = self._socket.recv(size)
            while self._socket.pending():
                data += self._socket.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return data

    def send(self, data: bytes) -> int:
        """How much was taken."""
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None


class SecureServer(Server):
    """The stub, spoken to over TLS."""

    def secured(self, client: socket.socket) -> socket.socket:
        """The same connection, whose first bytes are a handshake."""
        wrapped = CONTEXT.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return cast("socket.socket", _Secure(wrapped))


if __name__ == "__main__":
    place = sys.argv.index("--pem")
    CONTEXT.load_cert_chain(sys.argv[place + 1])
    del sys.argv[place : place + 2]
    main(SecureServer)
