"""TLS to a server: the trusted authority, and the program's own certificate."""

import ssl
from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1, max_length=4000)]


class TlsFiles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files for TLS in a configuration."""

    ca_file: Text | None = None
    certificate_file: Text | None = None
    key_file: Text | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that verifies the server: by `ca_file`, or by the trusted authorities of the host.

    The files are read afresh each time: exchanged files take effect with the next connection.

    Raises:
        OSError: If a file cannot be read or holds nothing usable.
    """
    context = ssl.create_default_context(cafile=files.ca_file)
    if files.certificate_file is not None:
        context.load_cert_chain(files.certificate_file, files.key_file)
    return context
