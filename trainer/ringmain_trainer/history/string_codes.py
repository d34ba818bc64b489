"""Texts as small numbers while records are taken in: sites, streams, and the arrays of names that come again and again."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

Codes = NDArray[np.int32]

_PATTERNS_MAX: Final = 20_000
"""So many different arrays are remembered; a site sends a handful."""


class StringCodes:
    """Numbers of texts, counted from 0 in the order in which they were first seen."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, text: str) -> int:
        """The number of a text."""
        codes = self._codes
        return codes.setdefault(text, len(codes))

    def __contains__(self, text: str) -> bool:
        return text in self._codes

    def __len__(self) -> int:
        return len(self._codes)

    def names(self) -> list[str]:
        """All texts, each at its number."""
        return list(self._codes)

    def series(self) -> pl.Series:
        """All texts, each at its number."""
        return pl.Series(self.names(), dtype=pl.String)

    def ranks(self) -> NDArray[np.int64]:
        """Place of each text in alphabetical order, by its number."""
        ranks = np.empty(len(self._codes), np.int64)
        texts = self.names()
        ranks[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        return ranks


class DecodedArrays:
    """JSON arrays that were read before, by their bytes: what nearly every message repeats is decoded once."""

    def __init__(self, kind: Any, texts: StringCodes | None = None) -> None:  # noqa: ANN401  a type
        self._decoder = msgspec.json.Decoder(kind)
        self._texts = texts
        self._seen: dict[bytes, Codes] = {}

    def read(self, raw: msgspec.Raw) -> Codes:
        """The array; names as their numbers.

        Raises:
            msgspec.ValidationError: If it is not of the kind.
        """
        key = bytes(raw)
        found = self._seen.get(key)
        if found is None:
            values: Sequence[Any] = self._decoder.decode(key)
            if self._texts is not None:
                values = [self._texts.code(text) for text in values]
            found = np.array(values, dtype=np.int32)
            if len(self._seen) >= _PATTERNS_MAX:
                self._seen.clear()
            self._seen[key] = found
        return found
