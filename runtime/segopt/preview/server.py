"""The preview's web server: a page, a picture that goes on (MJPEG), and figures (server-sent events)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from segopt.errors import UsageError
from segopt.preview.address import Address
from segopt.preview.board import Board
from segopt.preview.page import page

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_VIEWERS = 8
_MOST_CONNECTIONS = 4 * MOST_VIEWERS
STALL_SECONDS = 10
"""A viewer that reads nothing for so long is let go."""
_SEND_BUFFER = 1 << 17
"""Bytes: about one picture. What waits in a larger one is old when it is seen."""
_ALIVE_SECONDS = 2.0
_BOUNDARY = "frame"


class PreviewServer:
    """Serves a board; a context manager."""

    def __init__(self, address: Address) -> None:
        """Open the port.

        Raises:
            UsageError: it is in use, or is not one that this user may open.
        """
        self.board = Board()
        try:
            self._server = _Server(address, self.board)
        except OSError as error:
            self.board.close()
            where = f"--preview {address.host}:{address.port}"
            if error.errno == errno.EADDRINUSE:
                raise UsageError(f"{where}: the port is in use; give another one") from None
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise UsageError(f"{where}: cannot be opened ({reason}); give another host or port") from None
        self.url = address.url(self._server.server_address[1])
        """What to open in a browser."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="segopt-preview-server", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Let the viewers go; harmless when repeated."""
        self.board.close()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 16

    def __init__(self, address: Address, board: Board) -> None:
        self.address_family = address.family
        self.address, self.board = address, board
        self.streams = threading.BoundedSemaphore(MOST_VIEWERS)
        self.events = threading.BoundedSemaphore(MOST_VIEWERS)
        self.connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # That of HTTPServer looks up the host's full name, which takes seconds where there is no name server.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.connections.acquire(blocking=False):
            # By its name, the command does not wait for a viewer at its end.
            threading.Thread(
                target=self.process_request_thread,
                args=(request, client_address),
                name="segopt-preview-viewer",
                daemon=True,
            ).start()
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that vanishes is nothing to speak of."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = STALL_SECONDS
    server_version, sys_version = "segopt", ""
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        # Before anything else, and for every method.
        if not self.server.address.admits(self.headers.get("Host"), self.path):
            self._answer(HTTPStatus.FORBIDDEN, "open the URL that segopt printed")
            return False
        # A page of another site can ask for the picture, though not read it, and take a viewer's place.
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and self.path[:2] not in (
            "/",
            "/?",
        ):
            self._answer(HTTPStatus.FORBIDDEN, "open the page itself")
            return False
        if self.command != "GET":
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET", {"Allow": "GET"})
            return False
        return True

    def do_GET(self) -> None:
        """Answer by the path."""
        path = urlsplit(self.path).path
        if path == "/":
            body, policy = page()
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", body, {"Content-Security-Policy": policy})
        elif path == "/stream.mjpg":
            self._limited(self.server.streams, self._stream)
        elif path == "/events":
            self._limited(self.server.events, self._events)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "there is only /")

    def _limited(self, places: threading.BoundedSemaphore, serve: Any) -> None:
        if not places.acquire(blocking=False):
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_VIEWERS} viewers are here already")
            return
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.board.look()
        try:
            with contextlib.suppress(OSError):
                serve()
        finally:
            self.server.board.leave()
            places.release()

    def _stream(self) -> None:
        self._head(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={_BOUNDARY}", {"Connection": "close"})
        board, number = self.server.board, 0
        self.connection.sendall(f"--{_BOUNDARY}\r\n".encode())
        while not board.closed:
            found, jpeg = board.next_picture(number, _ALIVE_SECONDS)
            if not jpeg or (found == number and board.closed):
                continue
            # The same picture again where none came: only by sending is it found that a viewer is gone.
            number = found
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            # A browser shows a part when it has seen the boundary behind it.
            self.connection.sendall(head + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())

    def _events(self) -> None:
        self._head(HTTPStatus.OK, "text/event-stream", {"Connection": "close"})
        board, number = self.server.board, 0
        while not board.closed:
            found, figures = board.next_figures(number, _ALIVE_SECONDS)
            line = ": still here\n\n" if found == number else f"data: {figures}\n\n"
            number = found
            self.connection.sendall(line.encode())
        self.connection.sendall(b"event: end\ndata: {}\n\n")

    def _answer(self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> None:
        self.close_connection = True
        self._send(
            status, "text/plain; charset=utf-8", f"{text}\n".encode(), {**(headers or {}), "Connection": "close"}
        )

    def _send(self, status: HTTPStatus, kind: str, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, kind, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        # No other site may take the picture into its own page.
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
