"""Services of the host for every program of Ringmain.

A configuration file, secrets and certificates come in; files, delays and exit statuses leave. Needs msgspec only.
"""

__all__ = ["backoff", "brokers", "command", "config", "files", "secrets", "tls"]
