"""Threads whose work nobody waits for."""

import os
import threading

_LEAST = 19


def yield_to_others() -> None:
    """Lets this thread, and those it starts, run where the processor has nothing better to do; on Linux alone."""
    if hasattr(os, "sched_getaffinity"):  # elsewhere a priority belongs to the process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST)
