"""Findings of `ringmain-bridge check`, one line each."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct

CONNECT_TIMEOUT_S: Final = 5.0
DAYS_LEFT_MIN: Final = 30


class Finding(Struct, frozen=True, kw_only=True):
    """One finding; `advice` says what to do and is empty when all is well."""

    status: Literal["ok", "warning", "error"]
    subject: str
    text: str
    advice: str = ""

    def line(self) -> str:
        """For people."""
        advice = f" -> {self.advice}" if self.advice else ""
        return f"{self.status:<8}{self.subject}: {self.text}{advice}"


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(status="ok", subject=subject, text=text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """It works, and one day it may not."""
    return Finding(status="warning", subject=subject, text=text, advice=advice)


def error(subject: str, text: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(status="error", subject=subject, text=text, advice=advice)


def reachable(subject: str, host: str, port: int) -> Iterator[Finding]:
    """Whether the host's name has an address, and something listens there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as problem:
        yield error(subject, f"{host} has no address: {problem.strerror}", "correct the name, or the DNS")
        return
    addresses = sorted({str(address[0]) for *_, address in found})
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError as problem:
        text = f"{host}:{port} ({', '.join(addresses)}) cannot be reached: {problem.strerror or problem}"
        yield error(subject, text, "start it, correct the port, or open the firewall")
        return
    yield ok(subject, f"{host}:{port} answers ({', '.join(addresses)})")


def encrypted(subject: str, host: str, port: int, tls: ssl.SSLContext, *, now: datetime) -> Iterator[Finding]:
    """Whether the server's certificate is good, and its remaining days."""
    try:
        with (
            socket.create_connection((host, port), CONNECT_TIMEOUT_S) as plain,
            tls.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            certificate, version = wrapped.getpeercert(), wrapped.version()
    except ssl.SSLCertVerificationError as problem:
        advice = "name its CA as ca_file, give it a certificate for this host name, or renew it"
        yield error(subject, f"the certificate of {host} is refused: {problem.verify_message}", advice)
        return
    except OSError as problem:
        yield error(subject, f"no TLS with {host}:{port}: {problem}", "is this the port for TLS?")
        return
    yield _days_left(subject, f"{version}, certificate of {host}", certificate, now)


def own_certificate(subject: str, certificate_file: str, *, now: datetime) -> Iterator[Finding]:
    """Whether our own certificate is valid now."""
    try:
        # The only way of the standard library to read a certificate: undocumented, and used by its own tests.
        certificate = ssl._ssl._test_decode_cert(certificate_file)  # type: ignore[attr-defined]  # noqa: SLF001
    except (OSError, AttributeError) as problem:
        yield warning(
            subject, f"{certificate_file} cannot be read as one certificate: {problem}", "look at its dates yourself"
        )
        return
    yield _days_left(subject, "our own certificate", certificate, now)


def _days_left(subject: str, what: str, certificate: object, now: datetime) -> Finding:
    ends = certificate.get("notAfter") if isinstance(certificate, dict) else None
    if not isinstance(ends, str):
        return ok(subject, what)
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    days = (until - now).days
    text = f"{what} is valid until {until:%Y-%m-%d}, {days} days"
    if days < 0:
        return error(subject, f"{what} ended on {until:%Y-%m-%d}", "renew it")
    return ok(subject, text) if days >= DAYS_LEFT_MIN else warning(subject, text, "renew it")
