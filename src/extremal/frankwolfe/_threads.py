"""Threads beside the main one, for work that is split by hand."""

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch


@functools.cache
def one_threaded(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch's own products and decompositions stay on that thread.

    A new thread takes the number that torch keeps for the whole process, and setting it in one
    changes that; so it is put back once all have started.
    """
    whole = torch.get_num_threads()
    started = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="frankwolfe")
    for _ in range(threads):
        pool.submit(begin)
    started.wait()
    torch.set_num_threads(whole)
    return pool


os.register_at_fork(after_in_child=one_threaded.cache_clear)  # threads do not come along
