"""Detects another process with our client id: the broker disconnects one whenever the other connects. Pure.

MQTT 3.1.1 does not say why a broker closes a connection. So the evidence is: the broker accepted, hung up within
seconds, several times in a row, and meanwhile another connection from here, with another client id, lived on.
"""

from random import Random
from typing import Final

SHORT_S: Final = 10.0
SUSPECTED: Final = 2
CERTAIN: Final = 3
CERTAIN_WITHOUT_WITNESS: Final = 6
OVER_S: Final = 60.0
WAIT_S: Final = 60.0


class ClientIdConflict:
    """Counts connections that the broker accepted and soon closed.

    Attributes:
        contested: Another process uses the client id; until a connection has lasted `OVER_S`.
    """

    def __init__(self) -> None:
        self.contested = False
        self._short = 0

    @property
    def wants_witness(self) -> bool:
        """Whether a witness should be there before the next connection begins."""
        return self.contested or self._short >= SUSPECTED

    def ended(self, *, up_for_s: float, witness_lives: bool | None) -> bool:
        """Note that the broker closed an accepted connection; True if that was another process with our client id.

        `witness_lives` is None without a witness, because none was asked for or the broker did not accept it.
        """
        if self.contested and up_for_s >= OVER_S:
            self.contested = False
        if witness_lives is False or up_for_s >= (OVER_S if self.contested else SHORT_S):
            self._short = 0
            return False
        self._short += 1
        if not self.contested:
            self.contested = self._short >= (CERTAIN if witness_lives else CERTAIN_WITHOUT_WITNESS)
        return self.contested

    def interrupted(self) -> None:
        """The broker could not be reached or refused us, or we hung up ourselves: no sign of another process."""
        self._short = 0

    def holds(self) -> None:
        """The present connection has lasted for `OVER_S`."""
        self.contested = False
        self._short = 0


def wait_s(random: Random) -> float:
    """Time to leave the client id to the other process, drawn by chance: two processes then do not meet again and again."""
    return WAIT_S * random.uniform(0.75, 1.25)
