"""Detects another process with our client id: the broker disconnects one whenever the other connects. Pure.

In MQTT 3.1.1 a broker gives no reason when it closes a connection. The evidence is: several times in a row the broker
accepted the connection and closed it within seconds, while another connection of ours, with another client id, lived on.
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
    """Counts connections that the broker accepted and closed within seconds.

    Attributes:
        contested: Whether another process uses the client id; false again once a connection has lasted `OVER_S`.
    """

    def __init__(self) -> None:
        self.contested = False
        self._short = 0

    @property
    def wants_witness(self) -> bool:
        """Whether to open a witness before the next connection."""
        return self.contested or self._short >= SUSPECTED

    def ended(self, *, up_for_s: float, witness_lives: bool | None) -> bool:
        """Note that the broker closed an accepted connection; True if another process has our client id.

        `witness_lives` is None without a witness: none was wanted, or the broker did not accept it.
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
        """Note an end that is no sign of another process: broker unreachable, connection refused, or closed by us."""
        self._short = 0

    def holds(self) -> None:
        """The present connection has lasted for `OVER_S`."""
        self.contested = False
        self._short = 0


def wait_s(random: Random) -> float:
    """Time to leave the client id to the other process; random, or two processes would disconnect each other forever."""
    return WAIT_S * random.uniform(0.75, 1.25)
