"""Threads beside the main one, for work that is split by hand."""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


@functools.cache
def one_threaded(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch's own products and decompositions stay on that thread.

    A new thread takes the number that torch keeps for the whole process when it first asks, so each
    asks before it sets its own; and setting it changes the process's, which is put back once all
    have started. A thread that split its work would start OpenMP threads of its own, and with more
    of these than cores OpenMP's barriers are several times slower from then on, everywhere.
    """
    whole = torch.get_num_threads()
    started = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="frankwolfe")
    for _ in range(threads):
        pool.submit(begin)
    started.wait()
    torch.set_num_threads(whole)
    return pool


def each(work: Callable[[int], object], count: int) -> None:
    """Do work(0), ..., work(count - 1) on torch's number of threads, a call on one thread.

    Where there are fewer calls than threads, torch splits each of them as it likes. Gradients are
    not followed.
    """
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def one(i: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(i)

    list((one_threaded(threads).map if 1 < threads <= count else map)(one, range(count)))


os.register_at_fork(after_in_child=one_threaded.cache_clear)  # threads do not come along
