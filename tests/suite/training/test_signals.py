import os
import signal
import threading

import pytest

from suite import Interrupted
from suite.training.signals import StopSignals


def test_the_first_signal_is_noted_and_the_second_has_its_usual_effect():
    # A shell has what it starts in the background ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with StopSignals():
        pass

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_worker_that_follows_another_s_signal_counts_as_terminated():
    with pytest.raises(Interrupted) as stopped:
        StopSignals().interrupt()

    assert stopped.value.signal_number == signal.SIGTERM


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    during = []

    def enter():
        with StopSignals():
            during.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()

    assert during == [before]
