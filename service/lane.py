"""The lane: one method's calls straight off gRPC's completion queue, on a thread of its own.

grpc's own Python server passes every call between its polling thread and a pool three times, which costs more
than a score does: an empty call takes 113 to 132 µs of CPU there and 36 µs here. So the lane registers its method
with the server's core, takes the calls itself, and answers what waits for nobody in the very thread that received
it. All other methods stay with grpc's server. See docs/decisions/0016, also for what this leans on.

One loop: take off the port all that has come, answer a few of the calls that wait longest, hand over their
replies. So the loop knows how much waits, and refuses at once what could not be begun in time; and what answering
needs stays in the processor's caches from one call to the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

import grpc
import structlog
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # no types

from service.access import ANYBODY
from service.edge import Edge
from service.edge_settings import ServerSettings
from service.errors import FraudError, Overloaded
from service.lane_pool import JOIN_S, Arrival, Call, Leisure, Pace, Pool, Tell
from service.status import Status

_LOG = structlog.get_logger(__name__)
_Request = TypeVar("_Request")

_NEW: Final = "new"
_DONE: Final = "done"
_LOOK: Final = 0
"""A deadline long past: whatever has come, without waiting."""

_NO_FLAGS: Final = 0
_OK: Final = grpc.StatusCode.OK.value[0]
_TIMEOUT: Final = cygrpc.CompletionType.queue_timeout
_SHUTDOWN: Final = cygrpc.CompletionType.queue_shutdown

_GROUP: Final = 4
"""Waiting calls that are answered before their replies are handed over, one after the other, and before the lane looks
who has come. Eight make a call cheaper by a few percent with many in flight, and everybody a millisecond later. Nobody
waits for a group to fill."""

_TOGETHER: Final = 8
"""Calls that share what they wait for, at most: a read of eight costs less than half of eight reads."""

_TURN: Final = 256
"""Events that are taken before waiting calls get their turn, however many more have come. Calls that wait for gRPC
to be asked are seen by nobody, so that most of the excess is refused before the next group is answered."""

_MESSAGE_S: Final = 0.1
"""Seconds for which a call's message may be awaited when the lane is full; it usually comes with the call itself."""

_SHORT: Final = 2
"""So few waiting calls are never too many: what the last ones took says little of the next. Twice as many make p99 in
overload an eighth longer, and answer no more."""

_AT_LEISURE: Final = 0.4
"""Share of the time with nothing to do from which on a crowd is one that passes."""


class Method(NamedTuple, Generic[_Request]):
    """What is served: where, and the steps of a call. Each may raise an error of ours, which becomes a status.

    Whoever answers returns the reply, or None when it tells it later, from any thread.
    """

    path: str
    """As it stands on the wire, "/package.Service/Method"."""
    parse: Callable[[bytes], _Request]
    """Read the message; in the loop, so it waits for nobody."""
    shares: bool
    """Whether an answer waits for somebody whom others wait for, too: those that wait when one is begun go along with
    it, in a thread of the pool. Else it waits for nobody, and the loop makes it itself."""
    answer: Callable[[_Request, Arrival, Tell], bytes | None]
    """Answer one call."""
    answer_together: Callable[[Sequence[tuple[_Request, Arrival, Tell]]], list[bytes | Exception | None]]
    """Do what `answer` does for each of several calls, which share what they wait for."""


class Lane(Generic[_Request]):
    """Serves one method of a server. Made before the server is started; `start` after it, `stop` after it stopped."""

    def __init__(self, server: grpc.Server, method: Method[_Request], settings: ServerSettings, edge: Edge) -> None:
        """Register the method with the server's core."""
        self._method = method
        self._core = server._state.server  # type: ignore[attr-defined]  # noqa: SLF001  see docs/decisions/0016
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        self._core.register_method(method.path)
        self._bound = settings.max_concurrent_calls
        self._max_wait_s = settings.max_wait_ms / 1000
        self._max_standing_wait_s = min(settings.max_standing_wait_ms / 1000, self._max_wait_s)
        self._edge = edge
        self._in_hand = 0
        self._coming: dict[Call, None] = {}
        self._waiting: deque[Call] = deque()
        self._refused: list[tuple[Any, tuple[Any, ...]]] = []
        """Calls that are refused, with the operations that tell so."""
        self._pace = Pace()
        self._sharing = Pool(settings.sharing_threads, "share", self._work)
        self._leisure = self._sharing.leisure if method.shares else Leisure()
        self._telling = threading.Lock()
        self._stopped = False
        self._loop = threading.Thread(target=self._run, name="lane", daemon=True)

    @property
    def waiting(self) -> int:
        """Return how many calls were received and not begun."""
        return len(self._waiting) + self._sharing.waiting

    @property
    def leisure(self) -> float:
        """Return the share of their time, of late, in which those who answer had nothing to do."""
        return self._leisure.share

    @property
    def in_hand(self) -> int:
        """Return how many calls were received and are not over."""
        return self._in_hand

    def start(self) -> None:
        """Begin to answer."""
        self._loop.start()
        self._sharing.start()

    def stop(self) -> None:
        """End the threads. The server has stopped, so whoever was not answered by now never is."""
        self._sharing.stop()
        with self._telling:
            self._stopped = True
        self._queue.shutdown()
        self._loop.join(JOIN_S)

    # --- the loop -------------------------------------------------------------------------------

    def _run(self) -> None:
        self._ask()
        while True:
            try:
                self._serve()
            except Exception:  # noqa: BLE001  a worker whose lane has ended serves nobody, and looks well
                _LOG.exception("lane goes on", method=self._method.path)
            else:
                return

    def _serve(self) -> None:
        """Take calls and answer them until the queue is shut."""
        poll, waiting, refused = self._poll, self._waiting, self._refused
        taken, since_s = 0, 0.0
        while True:
            todo = bool(waiting or refused)
            event = poll(todo) if taken < _TURN or not todo else None
            kind = _TIMEOUT if event is None else event.completion_type
            if kind == _TIMEOUT:
                begun_s = time.monotonic()
                answered = self._turn()
                # With more waiting, all that happens until the next one's turn is part of how long a call takes.
                ended_s = time.monotonic()
                if answered:
                    self._pace.note((ended_s - (since_s or begun_s)) / answered)
                taken, since_s = 0, ended_s if waiting else 0.0
            elif kind == _SHUTDOWN:
                return
            else:
                taken += 1
                self._take(event)
            # An event holds its call, and a call that is over must be let go before the next look.
            event = None

    def _turn(self) -> int:
        """Hand over refusals, answer a group of those that wait, hand over their replies; returns how many it answered.

        Refusals are handed over together: a walk through the kernel for each by itself costs as much as three.
        """
        for handle, refusal in self._refused:
            self._finish(handle, refusal)
        self._refused.clear()
        group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
        for call, operations in [(call, self._answered(call)) for call in group]:
            if operations is not None:
                self._finish(call.handle, operations)
        return len(group)

    def _poll(self, todo: bool) -> Any:  # noqa: ANN401, FBT001
        """Return what has come; with nothing to do, wait for it."""
        if todo or self._method.shares:
            return self._queue.poll(_LOOK if todo else None)
        self._leisure.note(idle=1)
        event = self._queue.poll(None)
        self._leisure.note(idle=0)
        return event

    def _take(self, event: Any) -> None:  # noqa: ANN401
        """Handle what the queue gave; whatever goes wrong with one call, the loop goes on."""
        tag = event.tag
        try:
            if tag is _DONE:
                self._in_hand -= 1
            elif tag is _NEW:
                if event.success:
                    with suppress(ValueError):  # the server is stopping: this call was the last
                        self._ask()
                    self._arrived(event)
            else:
                self._received(tag, event.batch_operations[0].message())
        except Exception:  # noqa: BLE001
            _LOG.exception("call lost", method=self._method.path)

    def _wait_s(self) -> float:
        """Return how long a call that comes now would wait, by how long calls have taken lately."""
        return len(self._waiting) * self._pace.mean_s + self._sharing.wait_s()

    def _bearable_s(self) -> float:
        """Return how long a call may wait: the less, the less time there was to spare lately.

        After a stall, or in a crowd that passes, everybody waits for a while and is answered. With more calls than can
        be answered, everybody who is let in waits as long as the last one may, and as many are answered either way.
        """
        patience = min(self._leisure.share / _AT_LEISURE, 1.0)
        return max(patience * patience * self._max_wait_s, self._max_standing_wait_s)

    def _ask(self) -> None:
        """Ask for the next call; it comes as an event."""
        self._core.request_registered_call(self._queue, self._queue, self._method.path, _NEW)

    def _arrived(self, event: Any) -> None:  # noqa: ANN401
        """Let a call in and ask for its message, or refuse it at once."""
        handle, arrived_s = event.call, time.monotonic()
        self._in_hand += 1
        metadata, caller = event.invocation_metadata, ANYBODY
        full = self._in_hand > self._bound and not self._let_go(arrived_s)
        if full or (self.waiting > _SHORT and self._wait_s() > self._bearable_s()):
            status = self._edge.overloaded(self._method.path, time.monotonic() - arrived_s, metadata)
            self._refused.append((handle, _ended(status)))
            return
        if self._edge.gate is not None:
            try:
                caller = self._edge.admit(self._method.path, metadata, lambda: _peer(handle))
            except FraudError as error:
                self._refused.append((handle, self._refusal(error, Arrival(arrived_s, arrived_s, metadata, caller))))
                return
        deadline_s = arrived_s + event.call_details.deadline - time.time()
        call = Call(handle, Arrival(arrived_s, deadline_s, metadata, caller))
        self._coming[call] = None
        self._start(handle, (cygrpc.ReceiveMessageOperation(_NO_FLAGS),), call)

    def _let_go(self, now_s: float) -> bool:
        """End the call whose message is longest awaited, if that is too long; returns whether there was one.

        Else whoever begins calls and never sends their messages would fill the lane.
        """
        call = next(iter(self._coming), None)
        if call is None or now_s - call.arrival.arrived_s < _MESSAGE_S:
            return False
        del self._coming[call]
        self._refused.append((call.handle, self._refusal(Overloaded("the message did not come in time"), call.arrival)))
        return True

    def _received(self, call: Call, data: bytes | None) -> None:
        """Put a call with its message where it waits for its turn."""
        if self._coming.pop(call, call) is call:  # it was let go
            return
        if data is None:  # the caller is gone, or sent more than it may
            self._finish(call.handle, _ended(Status(grpc.StatusCode.CANCELLED, "no message came")))
            return
        try:
            call.request = self._method.parse(data)
        except Exception as error:  # noqa: BLE001  the table knows what the caller may learn
            self._refused.append((call.handle, self._refusal(error, call.arrival)))
            return
        if self._method.shares:
            self._sharing.put(call)
        else:
            self._waiting.append(call)

    # --- one call -------------------------------------------------------------------------------

    def _work(self, first: Call) -> int:
        """Answer a call together with those that wait, if any do; returns how many."""
        group = [first, *self._sharing.more(_TOGETHER - 1)]
        if len(group) == 1:
            operations = self._answered(first)
            if operations is not None:
                self._reply(first.handle, operations)
            return 1
        replies: Sequence[bytes | Exception | None]
        try:
            replies = self._method.answer_together(
                [(call.request, call.arrival, partial(self._tell, call)) for call in group]
            )
        except Exception as error:  # noqa: BLE001  the table knows what the callers may learn
            replies = [error] * len(group)
        for call, reply in zip(group, replies, strict=True):
            if reply is not None:
                self._tell(call, reply)
        return len(group)

    def _answered(self, call: Call) -> tuple[Any, ...] | None:
        """Answer a call; returns the operations that tell the caller, None when somebody tells them later."""
        try:
            reply = self._method.answer(call.request, call.arrival, partial(self._tell, call))
            return None if reply is None else self._replied(call, reply)
        except Exception as error:  # noqa: BLE001  the table knows what the caller may learn
            return self._refusal(error, call.arrival)

    def _tell(self, call: Call, reply: bytes | Exception) -> None:
        """Tell a caller what came of a call, from another thread than the loop's."""
        self._reply(call.handle, self._replied(call, reply))

    def _reply(self, handle: Any, operations: tuple[Any, ...]) -> None:  # noqa: ANN401
        """Hand the last operations to the core, unless its queue is shut: that would end the process."""
        with self._telling:
            if not self._stopped:
                self._finish(handle, operations)

    def _replied(self, call: Call, reply: bytes | Exception) -> tuple[Any, ...]:
        """Return the operations that tell the caller what came of a call."""
        if isinstance(reply, Exception):
            return self._refusal(reply, call.arrival)
        arrived_s, _, metadata, caller = call.arrival
        self._edge.answered(self._method.path, time.monotonic() - arrived_s, metadata, caller)
        return (
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            cygrpc.SendMessageOperation(reply, _NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(None, _OK, b"", _NO_FLAGS),
            cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),
        )

    def _refusal(self, error: Exception, arrival: Arrival) -> tuple[Any, ...]:
        """Return the operations that end a call with the status of an error."""
        arrived_s, _, metadata, caller = arrival
        return _ended(self._edge.refused(self._method.path, error, time.monotonic() - arrived_s, metadata, caller))

    def _finish(self, handle: Any, operations: tuple[Any, ...]) -> None:  # noqa: ANN401
        """Hand the last operations of a call to the core, which tells when they are done."""
        self._start(handle, operations, _DONE)

    def _start(self, handle: Any, operations: tuple[Any, ...], tag: object) -> None:  # noqa: ANN401
        """Hand operations of a call to the core; they come back as an event with the tag."""
        try:
            handle.start_server_batch(operations, tag)
        except Exception:  # noqa: BLE001  one call that cannot be ended ends no other
            self._in_hand -= 1
            _LOG.exception("call lost", method=self._method.path)


def _peer(handle: Any) -> dict[str, list[bytes]]:  # noqa: ANN401
    """Return what transport security knows of a caller, as `grpc.ServicerContext.auth_context` does."""
    return {key.decode(): values for key, values in (cygrpc.auth_context(handle) or {}).items()}


def _ended(status: Status) -> tuple[Any, ...]:
    """Return the operations that end a call without an answer."""
    return (
        cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
        cygrpc.SendStatusFromServerOperation(status.metadata, status.code.value[0], status.text.encode(), _NO_FLAGS),
        cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),
    )
