"""Serves the fleet page, /metrics and /healthz over HTTP, each request in its own thread."""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar, Final

from ringmain_bridge.fleet import bridge_metrics as prometheus
from ringmain_bridge.fleet import page as people

Page = Callable[[], tuple[HTTPStatus, str, bytes]]
REQUEST_TIMEOUT_S: Final = 10.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class WebServer:
    """Serves three pages. Raises OSError at construction if the address is in use or not of this host."""

    def __init__(
        self,
        listen: str,
        port: int,
        *,
        metrics: Callable[[], bytes],
        health: Callable[[], tuple[bool, str]],
        fleet: Callable[[], bytes],
    ) -> None:
        def fleet_page() -> tuple[HTTPStatus, str, bytes]:
            return HTTPStatus.OK, people.CONTENT_TYPE, fleet()

        def metrics_page() -> tuple[HTTPStatus, str, bytes]:
            return HTTPStatus.OK, prometheus.CONTENT_TYPE, metrics()

        def health_page() -> tuple[HTTPStatus, str, bytes]:
            well, text = health()
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            return status, "text/plain; charset=utf-8", text.encode() + b"\n"

        class Handler(_Handler):
            pages: ClassVar[dict[str, Page]] = {"/": fleet_page, "/metrics": metrics_page, "/healthz": health_page}

        self._server = _Server((listen, port), Handler)
        self._thread = Thread(target=self._server.serve_forever, name="web", daemon=True)
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the socket."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    pages: ClassVar[dict[str, Page]] = {}

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        status, kind, body = page() if page is not None else (HTTPStatus.NOT_FOUND, "text/plain", b"/, /metrics, /healthz\n")
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  one line a scrape would fill the log
        pass
