"""Birth and will of this agent at its brokers, and its answer to another agent of the same site."""

import contextlib
import logging
import math
from collections.abc import Iterable

from msgspec.structs import replace

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.gateway.connections import local_client_id, online_topic, shares_broker, upstream_client_id
from ringmain_agent.gateway.inbox import Arrived
from ringmain_agent.gateway.instance import Instance
from ringmain_agent.gateway.mqtt import BrokerConnection
from ringmain_agent.gateway.other_agents import REPEAT_S, OtherAgents
from ringmain_agent.snapshot import Reason
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Online, decode, encode

logger = logging.getLogger("ringmain_agent")


class Presence:
    """Says at both brokers that this agent runs, and hears others.

    Of two agents the later start observes and gives its client ids up, so that both do not disconnect each other for ever.
    """

    def __init__(
        self, loaded: LoadedConfig, instance: Instance, *, stream: str, local: BrokerConnection, upstream: BrokerConnection
    ) -> None:
        """No other agent heard."""
        self._loaded, self._instance, self._local, self._upstream = loaded, instance, local, upstream
        self._topic = online_topic(loaded.config.site)
        self._own = Online(online=True, since_ms=0, stream=stream, instance=instance.id, started_ms=instance.started_ms)
        self._others = OtherAgents(self._own, instance.earlier)
        self._at_local = None if shares_broker(loaded) else local
        self._connects = (0, 0)
        self._since_ms = 0
        self._said_s = -math.inf
        self._gave_way = False

    def announce(self, now_ms: int, now_s: float) -> None:
        """Publish the birth after each connect, and where another agent must hear it."""
        connects = self._upstream.connects, self._local.connects
        if connects != self._connects:
            self._since_ms = now_ms
        repeat = self._others.started_later and now_s - self._said_s >= REPEAT_S
        if connects != self._connects or self._others.answer_due() or repeat:
            self._connects, self._said_s = connects, now_s
            self._publish(online=True)

    def take(self, payload: bytes, *, retained: bool, at_s: float, is_local: bool = False) -> None:
        """Take a message on the topic of birth and will; at the local broker there are no wills of agents.

        Raises:
            MessageError: If it is not an `Online`.
        """
        if not payload:
            return
        online = decode(payload, Online)
        if online.online or not is_local:
            self._others.take(online, retained=retained, at_s=at_s)
        if self._others.started_later and not self._gave_way:
            self._give_way(at_s)

    def take_local(self, arrived: Iterable[Arrived], *, at_s: float) -> None:
        """Take the messages of the local broker; any that is not an `Online` is ignored."""
        for message in arrived:
            if message.topic == self._topic:
                with contextlib.suppress(MessageError):
                    self.take(message.payload, retained=message.retained, at_s=at_s, is_local=True)

    def hinders(self, now_s: float) -> bool:
        """True if this agent may not control because of another one."""
        return self._others.hinders(now_s)

    def reason(self, now_s: float) -> Reason | None:
        """The other agent of this site, if there is one."""
        return self._others.reason(now_s)

    def goodbye(self) -> None:
        """Publish that the agent is offline."""
        self._since_ms = 0
        self._publish(online=False)

    def _publish(self, *, online: bool) -> None:
        payload = encode(replace(self._own, online=online, since_ms=self._since_ms))
        self._upstream.publish(self._topic, payload, retain=True)
        if self._at_local is not None and online:
            self._at_local.publish(self._topic, payload)

    def _give_way(self, now_s: float) -> None:
        self._gave_way = True
        reason = self._others.reason(now_s)
        logger.warning("agent gives way site=%s %s", self._loaded.config.site, "" if reason is None else reason.text)
        self._upstream.change_client_id(f"{upstream_client_id(self._loaded)}-{self._instance.id}")
        if self._loaded.config.mqtt.local.client_id is not None:
            self._local.change_client_id(f"{local_client_id(self._loaded, self._instance)}-{self._instance.id}")
