"""TUF's own client over a folder: what an agent can get from the signed repository."""

from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater  # type: ignore[attr-defined]


class FolderFetcher(FetcherInterface):
    """TUF over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter([(self.folder / url.removeprefix("repo:/")).read_bytes()])
        except FileNotFoundError:
            raise DownloadHTTPError(f"no {url}", 404) from None


class Client:
    """What an agent sees; its cache lives on from one look to the next."""

    def __init__(self, repository: Path, home: Path) -> None:
        self.repository, self.home = repository, home
        self.bootstrap = (repository / "metadata" / "1.root.json").read_bytes()
        for name in ("cache", "targets"):
            (home / name).mkdir(parents=True)

    def get(self, path: str) -> bytes | None:
        """The target file; None if nobody with the right to do so signed it."""
        updater = Updater(
            str(self.home / "cache"),
            "repo:/metadata/",
            str(self.home / "targets"),
            "repo:/targets/",
            fetcher=FolderFetcher(self.repository),
            bootstrap=self.bootstrap,
        )
        target = updater.get_targetinfo(path)
        return None if target is None else Path(updater.download_target(target)).read_bytes()
