"""Releases: promoted models come in, a signed TUF repository leaves."""

__all__ = ["publish", "tuf_repository"]
