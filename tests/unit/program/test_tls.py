"""TLS always verifies the server, and a file that holds nothing usable is refused before anything is sent."""

import ssl
from pathlib import Path

import pytest

from ringmain_program.tls import TlsFiles, tls_context


def test_without_files_the_authorities_of_the_host_verify_the_server() -> None:
    context = tls_context(TlsFiles())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("keys", [("ca_file",), ("certificate_file", "key_file")])
def test_a_file_that_is_missing_or_holds_no_certificate_is_refused(tmp_path: Path, keys: tuple[str, ...]) -> None:
    path = tmp_path / "file.pem"
    files = TlsFiles(**dict.fromkeys(keys, str(path)))
    with pytest.raises(FileNotFoundError):
        tls_context(files)
    path.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        tls_context(files)
