"""The loop's sleep: ended by any thread, and by time."""

from __future__ import annotations

import time
from threading import Thread, Timer

from adwatch.wake import Wake


def slept(wake: Wake, seconds: float) -> float:
    begun = time.monotonic()
    wake.wait(seconds)
    return time.monotonic() - begun


def test_signs_that_come_early_end_the_next_sleep_and_no_other() -> None:
    wake = Wake()
    for _ in range(3):
        wake.set()
    assert slept(wake, 20) < 10
    assert slept(wake, 0.05) >= 0.05


def test_another_thread_ends_it() -> None:
    wake = Wake()
    Timer(0.05, wake.set).start()
    assert slept(wake, 20) < 10


def test_many_threads_wake_at_once() -> None:
    wake = Wake()
    threads = [Thread(target=lambda: [wake.set() for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        wake.wait(0.01)
    for thread in threads:
        thread.join()
    wake.set()
    assert slept(wake, 20) < 10
    assert slept(wake, 0.05) >= 0.05
