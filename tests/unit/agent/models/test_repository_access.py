"""What lies in a repository is read in pieces, from regular files and from the named server only."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from ringmain_agent.models.repository_access import FolderFetcher, WebFetcher


def test_folder_is_read_up_to_the_length_asked_for(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(200_000))
    fetcher = FolderFetcher(tmp_path)
    assert fetcher.download_bytes("folder:/large", 200_000) == bytes(200_000)
    with pytest.raises(DownloadLengthMismatchError):
        fetcher.download_bytes("folder:/large", 199_999)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A stick whose file is a device never ends, and a pipe never begins."""
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("endless", "folder", "pipe"):
        with pytest.raises(DownloadError, match="not a regular file"):
            FolderFetcher(tmp_path).download_bytes(f"folder:/{name}", 1000)


def test_missing_file_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadHTTPError) as error:
        FolderFetcher(tmp_path).download_bytes("folder:/missing", 1000)
    assert error.value.status_code == 404


class _Server(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        target = "/loop" if self.path == "/loop" else self.path.partition("?to=")[2]
        self.send_response(302 if target else 404 if self.path == "/missing" else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[tuple[http.server.ThreadingHTTPServer, http.server.ThreadingHTTPServer]]:
    """The named server, and another one in the station."""
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as one,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as other,
    ):
        for server in (one, other):
            server.asked = []  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield one, other
        one.shutdown()
        other.shutdown()


def test_redirects_stay_within_the_server(
    servers: tuple[http.server.ThreadingHTTPServer, http.server.ThreadingHTTPServer],
) -> None:
    one, other = servers
    base, fetcher = f"http://127.0.0.1:{one.server_port}", WebFetcher()
    assert fetcher.download_bytes(f"{base}/file", 10) == b"body"
    assert fetcher.download_bytes(f"{base}/a?to=/file", 10) == b"body"
    for target in (
        f"http://127.0.0.1:{other.server_port}/secret",
        f"//127.0.0.1:{other.server_port}/",
        "file:///etc/passwd",
    ):
        with pytest.raises(DownloadError, match="redirected to another server"):
            fetcher.download_bytes(f"{base}/a?to={target}", 10)
    assert other.asked == []  # type: ignore[attr-defined]
    with pytest.raises(DownloadError, match="more than 3 times"):
        fetcher.download_bytes(f"{base}/loop", 10)
    with pytest.raises(DownloadHTTPError, match="404"):
        fetcher.download_bytes(f"{base}/missing", 10)
