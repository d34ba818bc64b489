"""The one error of the protocol."""


class MessageError(Exception):
    """A message, topic or manifest that cannot be used: drop it, count it by `reason`, go on.

    Attributes:
        reason: One word out of a closed set, fit for a metric label: `too_large`, `undecodable`, `invalid`,
            `unknown_topic`, `not_finite`.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
