"""Bounded access to the model repository: a folder such as a USB stick, or a web server."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

CHUNK_BYTES: Final = 1 << 16
REDIRECTS_MAX: Final = 3


class FolderFetcher(FetcherInterface):
    """Fetcher of a repository in a folder; it reads regular files only, and no more of them than TUF asks for."""

    def __init__(self, folder: Path) -> None:
        """A fetcher that reads below this folder."""
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("folder:/")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not hold up the look
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{path} does not exist", 404) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DownloadError(f"{path} is not a regular file")
        return _chunks(descriptor)


class WebFetcher(Urllib3Fetcher):
    """Fetcher of a repository behind a web server; it follows redirects within this server only.

    Whoever speaks for the server could otherwise ask any address of the station's network.
    """

    def _fetch(self, url: str) -> Iterator[bytes]:
        at = url
        for _ in range(REDIRECTS_MAX + 1):
            response = self._request(at)
            location = response.get_redirect_location()
            if not location:
                break
            response.close()
            at = urljoin(at, location)
            if _server(at) != _server(url):
                raise DownloadError(f"{url} is redirected to another server, {at[:200]}; name that one as repository")
        else:
            raise DownloadError(f"{url} is redirected more than {REDIRECTS_MAX} times")
        if response.status >= 400:
            response.close()
            raise DownloadHTTPError(f"{at}: HTTP status {response.status}", response.status)
        return self._chunks(response)

    def _request(self, url: str) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(self.socket_timeout)
        try:
            return self._proxy_env.request("GET", url, preload_content=False, timeout=timeout, redirect=False)
        except urllib3.exceptions.MaxRetryError as error:
            if isinstance(error.reason, urllib3.exceptions.TimeoutError):
                raise SlowRetrievalError from error
            raise


def _chunks(descriptor: int) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
