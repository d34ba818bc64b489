"""Needs of every program of Ringmain on its host.

A configuration file, secrets and certificates come in; files, delays and exit statuses leave. Needs msgspec only.
"""

__all__ = ["backoff", "brokers", "command", "config", "files", "secrets", "tls"]
