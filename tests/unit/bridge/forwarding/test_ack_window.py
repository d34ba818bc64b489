"""Two threads at one window; everything else about it is in the property test."""

import threading
from collections import deque

from ringmain_bridge.forwarding.ack_window import AckWindow, Entry

MESSAGES, EVERY = 4000, 100


def message(mid: int, *, dup: bool = False, size_bytes: int = 1) -> Entry:
    return Entry(mid, dup, mid, size_bytes, 0, False)


def test_arrivals_cuts_and_reports_in_two_threads_acknowledge_each_message_once_and_in_order() -> None:
    """A report that races with a redelivery must not leave a finished entry at the head."""
    acknowledged: list[int] = []
    window = AckWindow(acknowledged.extend, limit=MESSAGES, limit_bytes=10**9)
    under_way: deque[Entry] = deque()
    ended = threading.Event()

    def reports() -> None:
        while not ended.is_set():
            window.confirm([(under_way.popleft(), None) for _ in range(min(len(under_way), 7))])

    poll_thread = threading.Thread(target=reports, daemon=True)
    poll_thread.start()
    for first in range(1, MESSAGES, EVERY):
        batch = range(first, first + EVERY)
        for again in (False, True):
            window.opened(session_present=True)
            unacknowledged = [mid for mid in batch if mid not in acknowledged[first - 1 :]]
            for some in (unacknowledged[:30], unacknowledged[30:]):
                under_way.extend(window.arrived([message(mid, dup=again) for mid in some]))
            while again and len(acknowledged) < first + EVERY - 1 and poll_thread.is_alive():
                ended.wait(0.0005)
            window.closed()
    ended.set()
    poll_thread.join()
    assert acknowledged == list(range(1, MESSAGES + 1))
    assert window.counts().in_flight == 0


def test_a_full_window_says_so_by_count_and_by_bytes() -> None:
    window = AckWindow(lambda _: None, limit=2, limit_bytes=100)
    entries = window.arrived([message(mid) for mid in range(1, 5)])
    assert window.overfull()
    assert not window.drained()
    window.confirm([(entry, None) for entry in entries[:3]])
    assert not window.overfull()
    assert window.drained()
    window.arrived([message(9, size_bytes=200)])
    assert window.overfull()
