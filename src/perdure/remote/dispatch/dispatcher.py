"""Which worker gets which work: affinity, room, order, leases; and work that comes back from those that are gone."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from perdure.history.state import Standing
from perdure.remote.dispatch.standing import STOPPING, given_back, in_line, lent, nobody, own_alone, with_worker
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.dispatch.suspects import BLAME_SECONDS, CLEARING_SECONDS, blame, is_convicted, verdict
from perdure.remote.dispatch.work import Kind, Need, Work

log = logging.getLogger("perdure")
TURN_LEASE_SECONDS = 120.0
"""After which a turn that nobody answered goes to another worker."""
ACTIVITY_LEASE_SECONDS = 3_600.0
"""Likewise an attempt. Long, because a public SDK gives no sign of life while it works."""
PING_SECONDS = 25.0
"""Silence after which a stream gets a ping: some workers leave after 120 s, some proxies after 30."""
RETURN_SECONDS = 1.0
RETURN_SECONDS_MAX = 30.0
"""How long work rests that a worker gave back, and how far that grows each time: a worker of another version may be the
only one there is, and would be asked again without end."""
NAMES_MAX = 10_000
"""Names of activities of an app that are remembered as called, for workers that do not say what they have."""
BACKLOG_MAX = 10_000
"""Pieces of work of an app that wait in memory for a worker; beyond it turns rest in the store."""

_LEASES = {Kind.TURN: TURN_LEASE_SECONDS, Kind.ACTIVITY: ACTIVITY_LEASE_SECONDS, Kind.ENTITY: TURN_LEASE_SECONDS}


class Dispatcher:
    """Work that waits, workers that are there. `now` gives seconds, `token` names that never repeat.

    Without `quarantines` work that kills its workers is handed out for ever.

    `ready` is called with an app when a turn of it would, or would no longer, be taken soon.
    """

    def __init__(
        self,
        now: Callable[[], float],
        token: Callable[[], str],
        ready: Callable[[str, bool], None],
        *,
        leases: dict[Kind, float] | None = None,
        quarantines: bool = False,
    ) -> None:
        self.streams: list[WorkerStream] = []
        self.relays: list[WorkerStream] = []
        """What stands for the workers of other servers, to whom goes what no worker here takes."""
        self._now = now
        self._token = token
        self._ready = ready
        self._leases = {**_LEASES, **(leases or {})}
        self._waiting: OrderedDict[Need, deque[Work]] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._were_ready: set[str] = set()
        self._out: dict[str, WorkerStream] = {}
        self._leased: dict[Kind, deque[tuple[float, str]]] = {kind: deque() for kind in Kind}
        self._homes: dict[object, WorkerStream] = {}
        self._resting: dict[Work, float] = {}
        self._is_paused = False
        self._quarantines = quarantines
        self._called: dict[str, dict[str, None]] = {}

    # -- workers --------------------------------------------------------------------------------------------------

    def connect(self, stream: WorkerStream) -> None:
        """A worker is there."""
        stream.quiet_since = self._now()
        self.streams.append(stream)
        self._wake([work for work in self._resting if stream.accepts(work.need)])  # because it may have what they lack
        self._look_at(stream.app)
        self._serve(stream)

    def disconnect(self, stream: WorkerStream) -> None:
        """A worker is gone: what it has not answered goes to others at once, in front of what waits."""
        if stream not in self.streams:
            return
        self.streams.remove(stream)
        stream.close()
        for home in [home for home, there in self._homes.items() if there is stream]:
            del self._homes[home]
        self._look_at(stream.app)
        judges = self._quarantines and not (stream.ended_in_peace or self._is_paused)
        is_alone, suspects = stream.load == 1, 0
        for work in reversed(list(stream.in_flight.values())):
            self._recall(work, stream)
            if judges:
                blame(work, self._now(), is_alone=is_alone)
            suspects += work.need.alone
            self._queue(work, in_front=True)
        if suspects:
            log.warning("%d pieces of work of %s run alone: several workers died with them", suspects, stream.app)
        self._serve_all()

    def relays_changed(self) -> None:
        """Other servers have other workers than before: what they do not take any more comes back."""
        for relay in self.relays:
            strayed = [work for work in relay.in_flight.values() if not relay.accepts(work.need)]
            for work in reversed(strayed):
                self._recall(work, relay)
                self._queue(work, in_front=True)
        self._serve_all()

    def pause(self) -> None:
        """Hand out nothing more; answers are taken."""
        self._is_paused = True

    @property
    def is_out(self) -> bool:
        """Whether a worker has work that it has not answered."""
        return bool(self._out)

    # -- work -----------------------------------------------------------------------------------------------------

    def submit(self, work: Work) -> None:
        """Hand the work to a worker, now or as soon as one has room."""
        self._remember_name(work.need)
        stream = self._choose(work)
        if stream is not None:
            self._give(work, stream)
        else:
            self._queue(work)

    def withdraw(self, work: Work, *, tells: bool = False) -> None:
        """Nobody wants its answer any more; the worker that has it `tells`, where its protocol can."""
        stream = self._out.get(work.token)
        if stream is not None:
            item = stream.codec.cancel_item(work.token) if tells else None
            if item is not None:
                stream.send(item)
            self._recall(work, stream)
            self._serve(stream)
            return
        if self._resting.pop(work, None) is not None:
            self._resize(work.need.app, -1)
        elif work.is_queued:
            self._waiting[work.need].remove(work)
            self._dequeued(work)

    def answered(self, token: str) -> Work | None:
        """The work that was handed out under a token and is answered now; None if it is not out under this one."""
        stream = self._out.get(token)
        if stream is None:
            return None
        work = stream.in_flight[token]
        stream.is_mute = False
        self._recall(work, stream)
        self._serve(stream)
        return work

    def peek(self, token: str) -> tuple[Work, WorkerStream] | None:
        """Work that is out under a token, and who has it."""
        stream = self._out.get(token)
        return (stream.in_flight[token], stream) if stream is not None else None

    def every(self) -> Iterator[Work]:
        """All work: with a worker, in line for one, or at rest."""
        for stream in (*self.streams, *self.relays):
            yield from stream.in_flight.values()
        for waiting in self._waiting.values():
            yield from waiting
        yield from self._resting

    def without_token(self, app: str, kind: Kind, instance: str, number: int = 0) -> str | None:
        """The token of the oldest work of an app that is out for a turn or call: for workers that do not echo it."""
        for stream in self.streams:
            for token, work in stream.in_flight.items():
                if (work.need.app, work.need.kind, work.instance, work.number) == (app, kind, instance, number):
                    return token
        return None

    def abandon(self, token: str) -> Work | None:
        """A worker gives work back; it is not queued again yet."""
        stream = self._out.get(token)
        if stream is None:
            return None
        work = stream.in_flight[token]
        stream.is_mute = False
        self._recall(work, stream)
        return work

    def submit_later(self, work: Work) -> None:
        """Queue work that a worker gave back, after a rest or when another worker comes."""
        rest = min(RETURN_SECONDS * 2.0 ** min(work.returns, 10), RETURN_SECONDS_MAX)
        work.returns += 1
        self._resting[work] = self._now() + rest
        self._resize(work.need.app, 1)

    def _wake(self, rested: list[Work]) -> None:
        for work in rested:
            del self._resting[work]
            self._resize(work.need.app, -1)
            self._queue(work)

    def touch(self, token: str) -> bool:
        """A sign of life of whoever has the work; False if it is not out any more."""
        stream = self._out.get(token)
        if stream is None:
            return False
        work = stream.in_flight[token]
        stream.is_mute = False
        work.expires = self._now() + self._leases[work.need.kind]
        self._leased[work.need.kind].append((work.expires, token))
        return True

    def forget(self, home: object) -> None:
        """A run is over: no worker needs to remember it."""
        stream = self._homes.pop(home, None)
        if stream is not None:
            stream.forget(home)

    def workflows(self, app: str) -> set[str]:
        """Names of the workflows that workers of an app say they have."""
        return {name for stream in self.streams if stream.app == app for name in stream.workflows}

    def activities(self, app: str) -> set[str]:
        """Names of the activities that workers of an app take, as far as they say it or such were called before."""
        names: set[str] = set()
        for stream in self.streams:
            if stream.app == app:
                named = stream.activities
                names.update(self._called.get(app, ()) if named is None else named)
        return names

    def room(self, app: str) -> int:
        """How many activities more the workers of an app could have at once; fewer than none wait for them."""
        free = sum(stream.room_for(Kind.ACTIVITY) for stream in self.streams if stream.app == app)
        needs = ((need, len(waiting)) for need, waiting in self._waiting.items())
        return free - sum(count for need, count in needs if need.app == app and need.kind == Kind.ACTIVITY)

    def _remember_name(self, need: Need) -> None:
        called = self._called.setdefault(need.app, {})
        if need.kind == Kind.ACTIVITY and not need.workflow and len(called) < NAMES_MAX:
            called[need.name] = None

    def standing(self, need: Need, instance: str, number: int = 0) -> Standing:
        """Where a turn or call is, for people."""
        streams = [stream for stream in self.streams if stream.app == need.app]
        for stream in streams:
            for work in stream.in_flight.values():
                if work.is_for(need, instance, number):
                    lease = self._leases[need.kind]
                    return with_worker(stream.worker, work.expires - self._now(), lease)
        if self._is_paused:
            return STOPPING
        for relay in self.relays:
            for work in relay.in_flight.values():
                if work.is_for(need, instance, number):
                    return lent(self._now() - work.given_at)
        for work, until in self._resting.items():
            if work.is_for(need, instance, number):
                return given_back(until - self._now())
        if not any(stream.accepts(need) for stream in streams):
            is_own = any(work.need.stays and work.is_for(need, instance, number) for work in self.every())
            return own_alone(need) if is_own else nobody(need, len(streams))
        line = [work for waiting in self._waiting.values() for work in waiting if work.need.app == need.app]
        place = next((index for index, work in enumerate(line) if work.is_for(need, instance, number)), None)
        return in_line(place, len(line))

    # -- time -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Give work whose lease ran out to others, and ping streams that were silent. To be called every second."""
        now = self._now()
        for leased in self._leased.values():
            while leased and leased[0][0] <= now:
                _, token = leased.popleft()
                stream = self._out.get(token)
                if stream is not None and stream.in_flight[token].expires <= now:
                    work = stream.in_flight[token]
                    stream.is_mute = True
                    self._recall(work, stream)
                    self._queue(work, in_front=True)
        self._wake([work for work, until in self._resting.items() if until <= now])
        self._clear_for_suspects(now)
        self._serve_all()
        for waiting in self._waiting.values():
            for work in waiting:
                work.still_waits()
        for relay in self.relays:
            for work in relay.in_flight.values():
                work.still_waits()
        for stream in self.streams:
            if now - stream.quiet_since >= PING_SECONDS:
                stream.quiet_since = now
                if stream.is_pinged:
                    stream.send(stream.codec.ping())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _choose(self, work: Work) -> WorkerStream | None:
        if self._is_paused:
            return None
        home = self._homes.get(work.home) if work.home is not None else None
        if home is not None and self._may_take(home, work.need):
            return home
        able = min(self._able(work.need), key=lambda stream: stream.load, default=None)
        return able if able is not None else self._relay_for(work.need)

    def _relay_for(self, need: Need) -> WorkerStream | None:
        """To whom it is lent, if no worker here has its code."""
        if not self.relays or any(stream.accepts(need) for stream in self.streams):
            return None
        return next((relay for relay in self.relays if relay.has_room(need.kind) and relay.accepts(need)), None)

    def _able(self, need: Need) -> Iterator[WorkerStream]:
        return (stream for stream in self.streams if self._may_take(stream, need))

    def _may_take(self, stream: WorkerStream, need: Need) -> bool:
        """Whether a worker is to have such work now: a mute one only while no other has the code."""
        if not (stream.has_room(need.kind) and stream.accepts(need)) or stream.is_lane:
            return False
        if need.alone:
            is_late = stream.cleared_since is not None and self._now() - stream.cleared_since >= CLEARING_SECONDS
            return stream.load == 0 or is_late
        if stream.cleared_since is not None:
            return False
        return not (stream.is_mute and any(not other.is_mute and other.accepts(need) for other in self.streams))

    def _give(self, work: Work, stream: WorkerStream) -> None:
        if is_convicted(work):
            work.convict(verdict(work))  # only now, because without a worker the run would not hear of it
            return
        work.token = work.new_token(self._token)
        try:
            item = work.item(stream)
        except Exception:
            log.exception("%r cannot be handed out", work)
            work.fail()  # because what is wrong with one piece of work is no harm to the worker's others
            item = None
        if item is None:
            work.token = ""
            return
        now = work.given_at = self._now()
        if work.need.alone:
            stream.cleared_since = None
        work.expires = now + self._leases[work.need.kind]
        self._leased[work.need.kind].append((work.expires, work.token))
        self._out[work.token] = stream
        stream.quiet_since = now
        if work.home is not None and not stream.is_relay:
            self._homes[work.home] = stream
        stream.give(work, item)

    def _clear_for_suspects(self, now: float) -> None:
        """Let a worker come to an end with what it has for each suspect that waits, and let go of those that had one
        for long: it kills nobody."""
        for stream in self.streams:
            if stream.is_lane and all(now - work.given_at > BLAME_SECONDS for work in stream.in_flight.values()):
                stream.is_lane = False
        wanted = [need for need in self._waiting if need.alone]
        for need in wanted:
            able = [stream for stream in self.streams if stream.accepts(need) and not stream.is_lane]
            if able and all(stream.cleared_since is None for stream in able):
                min(able, key=lambda stream: stream.load).cleared_since = now
        if not wanted:
            for stream in self.streams:
                stream.cleared_since = None

    def _recall(self, work: Work, stream: WorkerStream) -> None:
        del self._out[work.token]
        stream.take_back(work)
        work.token = ""

    def _queue(self, work: Work, *, in_front: bool = False) -> None:
        waiting = self._waiting.setdefault(work.need, deque())
        if work.need.alone:
            self._waiting.move_to_end(work.need, last=False)  # because it needs a worker before that has anything else
        if in_front:
            waiting.appendleft(work)
        else:
            waiting.append(work)
        work.is_queued = True
        self._resize(work.need.app, 1)

    def _dequeued(self, work: Work) -> None:
        need, work.is_queued = work.need, False
        if not self._waiting[need]:
            del self._waiting[need]
        self._resize(need.app, -1)

    def _resize(self, app: str, by: int) -> None:
        self._sizes[app] = self._sizes.get(app, 0) + by
        self._look_at(app)

    def _serve_all(self) -> None:
        if self._waiting:
            for stream in list(self.streams):
                self._serve(stream)
            self._lend_waiting()

    def _lend_waiting(self) -> None:
        """Lend what no worker here takes and others do."""
        for need in list(self._waiting) if self.relays and not self._is_paused else ():
            while need in self._waiting and (relay := self._relay_for(need)) is not None:
                work = self._waiting[need].popleft()
                self._dequeued(work)
                self._give(work, relay)

    def _serve(self, stream: WorkerStream) -> None:
        """Give a worker what waits, as far as it has room: one of each name in turn."""
        if stream.is_relay:
            self._lend_waiting()
            return
        progress = bool(self._waiting) and not self._is_paused
        while progress:
            progress = False
            for need in list(self._waiting):
                if self._may_take(stream, need):
                    work = self._waiting[need].popleft()
                    self._dequeued(work)
                    self._give(work, stream)
                    progress = True

    def _look_at(self, app: str) -> None:
        """Tell whoever asks for work of the app when it begins or ceases to make sense."""
        is_there = any(stream.app == app for stream in self.streams)
        bound = BACKLOG_MAX if app in self._were_ready else BACKLOG_MAX // 2
        is_ready = is_there and self._sizes.get(app, 0) < bound
        if is_ready != (app in self._were_ready):
            (self._were_ready.add if is_ready else self._were_ready.discard)(app)
            self._ready(app, is_ready)

    def waiting(self, app: str) -> int:
        """Pieces of work of the app that wait for a worker."""
        return self._sizes.get(app, 0)

    @property
    def backlog(self) -> int:
        """Pieces of work that wait for a worker."""
        return sum(self._sizes.values())

    def __repr__(self) -> str:
        return f"<Dispatcher: {len(self.streams)} workers, {len(self._out)} out, {self.backlog} waiting>"
