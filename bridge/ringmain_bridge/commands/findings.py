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
    """One finding; `advice` is the remedy, and empty for status `ok`."""

    status: Literal["ok", "warning", "error"]
    subject: str
    text: str
    advice: str = ""

    def line(self) -> str:
        """The finding as one line for a terminal."""
        advice = f" -> {self.advice}" if self.advice else ""
        return f"{self.status:<8}{self.subject}: {self.text}{advice}"


def ok(subject: str, text: str) -> Finding:
    """A finding without a problem."""
    return Finding(status="ok", subject=subject, text=text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """A problem that does not stop the bridge yet."""
    return Finding(status="warning", subject=subject, text=text, advice=advice)


def error(subject: str, text: str, advice: str) -> Finding:
    """A problem that stops the bridge."""
    return Finding(status="error", subject=subject, text=text, advice=advice)


def reachable(subject: str, host: str, port: int) -> Iterator[Finding]:
    """Whether the host's name has an address, and something listens there."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as problem:
        yield error(subject, f"{host} has no address: {problem.strerror}", "correct the host name, or the DNS")
        return
    addresses = sorted({str(address[0]) for *_, address in answers})
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError as problem:
        text = f"{host}:{port} ({', '.join(addresses)}) cannot be reached: {problem.strerror or problem}"
        yield error(subject, text, "start the server, correct the port, or open the firewall")
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
        yield error(subject, f"no TLS with {host}:{port}: {problem}", "check that this is the port for TLS")
        return
    yield _days_left(subject, f"{version}, certificate of {host}", certificate, now)


def own_certificate(subject: str, certificate_file: str, *, now: datetime) -> Iterator[Finding]:
    """Whether our own certificate is valid now."""
    try:
        # The standard library has no other way to read a certificate; this one is undocumented and used by its tests.
        certificate = ssl._ssl._test_decode_cert(certificate_file)  # type: ignore[attr-defined]  # noqa: SLF001
    except (OSError, AttributeError) as problem:
        yield warning(subject, f"{certificate_file} cannot be read as one certificate: {problem}", "check its dates by hand")
        return
    yield _days_left(subject, "our own certificate", certificate, now)


def _days_left(subject: str, name: str, certificate: object, now: datetime) -> Finding:
    ends = certificate.get("notAfter") if isinstance(certificate, dict) else None
    if not isinstance(ends, str):
        return ok(subject, name)
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    days = (until - now).days
    text = f"{name} is valid until {until:%Y-%m-%d}, {days} days"
    if days < 0:
        return error(subject, f"{name} expired on {until:%Y-%m-%d}", "renew it")
    return ok(subject, text) if days >= DAYS_LEFT_MIN else warning(subject, text, "renew it")
