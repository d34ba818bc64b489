"""Setpoints on their way to equipment: when to send one, and whether it is followed."""

from collections.abc import Callable, Mapping

from ringmain_agent.outputs import Output, Sent, follows, setpoint_payload
from ringmain_agent.site import Site
from ringmain_protocol.steps import Reading

Publish = Callable[[str, bytes], bool]


class Equipment:
    """Sends setpoints that have changed or are due again; nothing is sent without a call.

    Sequences rise for ever, also over restarts when the last one is given back.
    """

    def __init__(self, outputs: Mapping[str, Output], site: Site, *, last_sequence: int) -> None:
        """Nothing sent yet."""
        self.not_followed: list[str] = []
        self.last_sequence = last_sequence
        self._outputs = dict(outputs)
        self._sent: dict[str, Sent] = {}
        self._rated_kw = {b.name: max(b.charge_max_kw, b.discharge_max_kw) for b in site.batteries}
        self._rated_kw |= {pv.name: pv.rated_power_kw for pv in site.generators}

    def send(
        self, power_kw: Mapping[str, float | None], newest: Mapping[str, Reading], *, now_ms: int, publish: Publish
    ) -> int:
        """Publish what `limits` has passed; returns how many messages went out."""
        count = 0
        self.last_sequence = max(self.last_sequence + 1, now_ms)
        self.not_followed = [name for name in self._outputs if not self._follows(name, newest, now_ms)]
        for name, output in self._outputs.items():
            value, before = power_kw.get(name), self._sent.get(name)
            same = before is not None and before.power_kw == value
            if before is not None and same and 0 <= now_ms - before.sent_ms < 1000 * output.repeat_s:  # unless set back
                continue
            payload = setpoint_payload(output, value, sequence=self.last_sequence, now_ms=now_ms)
            if publish(output.topic, payload):
                count += 1
                since_ms = before.since_ms if before is not None and same else now_ms
                self._sent[name] = Sent(power_kw=value, since_ms=since_ms, sent_ms=now_ms)
        return count

    def forget(self) -> None:
        """In observe nothing is in force; when control returns, everything is sent at once."""
        self._sent.clear()
        self.not_followed = []

    def _follows(self, name: str, newest: Mapping[str, Reading], now_ms: int) -> bool:
        sent, output = self._sent.get(name), self._outputs[name]
        if sent is None:
            return True
        measured = newest.get(output.confirmed_by or f"{name}_kw")
        return follows(sent, measured, output, rated_kw=self._rated_kw[name], now_ms=now_ms)
