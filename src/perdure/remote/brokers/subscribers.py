"""The subscriptions of one process on one broker."""

from __future__ import annotations

from collections.abc import Callable

from perdure.blocks.pubsub import Handle, SubscribeOptions
from perdure.clock import Clock
from perdure.engine.topic_lane import Lane, lane_here
from perdure.remote.brokers.port import Group
from perdure.remote.brokers.subscriber import Subscriber


class Subscribers:
    """Those that are not closed yet."""

    def __init__(self, clock: Clock, lease_seconds: float) -> None:
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._those: list[Subscriber] = []

    async def start(
        self,
        topic: str,
        group: str,
        handle: Handle,
        options: SubscribeOptions,
        join: Callable[[str], Group],
        lane: Lane | None,
    ) -> Subscriber:
        """Begin one more; `join` makes a group as the member of this name sees it. Without a `lane` it has that of all
        brokers of this process. Raises StoreError."""
        member = self._clock.token()
        name = f"{topic} for {group}"
        lease, lane = self._lease_seconds, lane or lane_here()
        subscriber = Subscriber(name, member, join(member), handle, options, self._clock, lease, lane)
        await subscriber.start()
        self._those = [one for one in self._those if not one.is_closed] + [subscriber]
        return subscriber

    async def close(self) -> None:
        """Return when nothing is being handled any more."""
        for subscriber in self._those:
            await subscriber.close()
        self._those.clear()

    def __len__(self) -> int:
        return len(self._those)
