"""The flat-out server behind TLS: the same one (`flat_out`), its sockets wrapped.

    python -m ptubench.sim.flat_tls --cpu 1 --ttft 0.1 --tokens 100 --rate 50 [--pem FILE]

FILE holds a certificate and its key; `PEM` where none is named, which is for 127.0.0.1 and for measuring alone: whoever has this
package has its key. Handshakes are made as they come, between the events that are due.
"""

import socket
import ssl
import sys
from pathlib import Path
from typing import Any, cast

from ptubench.sim.flat_out import Server, main

PEM = Path(__file__).with_name("loopback.pem")
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
    """The server, spoken to over TLS."""

    def secured(self, client: socket.socket) -> socket.socket:
        """The same connection, whose first bytes are a handshake."""
        wrapped = CONTEXT.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return cast("socket.socket", _Secure(wrapped))


def serve() -> None:
    """As `flat_out.main`."""
    pem = str(PEM)
    if "--pem" in sys.argv:
        place = sys.argv.index("--pem")
        pem = sys.argv[place + 1]
        del sys.argv[place : place + 2]
    CONTEXT.load_cert_chain(pem)
    main(SecureServer)


if __name__ == "__main__":
    serve()
