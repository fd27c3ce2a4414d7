"""Three recipes for retrying futures of a ThreadPoolExecutor, timed.

    recipes.py RECIPE JOBS THREADS

Each job sleeps for a millisecond, and one of nine fails once. Prints the figures as JSON.
"""

import concurrent.futures as cf
import json
import resource
import sys
import threading
import time

NAP = 0.001
ONE_FAILS_OF = 9


class Jobs:
    """The jobs by number; a job that is tried again succeeds."""

    def __init__(self, executor):
        self.executor = executor
        self.attempts = 0

    def submit(self, number, again=False):
        self.attempts += 1
        return self.executor.submit(attempt, number, again)


def attempt(number, again):
    time.sleep(NAP)
    if number % ONE_FAILS_OF == 0 and not again:
        raise ValueError(number)
    return number


def rounds(jobs, count):
    """All of a round, then what failed in it."""
    futures = {jobs.submit(number): number for number in range(count)}
    succeeded = 0
    while futures:
        failed = {}
        for future in cf.as_completed(futures):
            if future.exception():
                number = futures[future]
                failed[jobs.submit(number, True)] = number
            else:
                succeeded += 1
        futures = failed
    return succeeded


def first_completed(jobs, count):
    """wait(FIRST_COMPLETED) in a loop: it looks at all that is pending each time."""
    futures = {jobs.submit(number): number for number in range(count)}
    succeeded = 0
    while futures:
        done, pending = cf.wait(futures, return_when=cf.FIRST_COMPLETED)
        left = {future: futures[future] for future in pending}
        for future in done:
            if future.exception():
                number = futures[future]
                left[jobs.submit(number, True)] = number
            else:
                succeeded += 1
        futures = left
    return succeeded


class Waiter:
    """What a future tells when it ends, as the futures of the standard library expect it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.event = threading.Event()
        self.finished = []

    def add_result(self, future):
        with self.lock:
            self.finished.append(future)
            self.event.set()

    add_exception = add_cancelled = add_result

    def listen(self, future):
        # Under the future's own lock, or one that ends between its submission and this is never heard of.
        with future._condition:
            if future.done():
                self.add_result(future)
            else:
                future._waiters.append(self)


def tweaked(jobs, count):
    """as_completed with a waiter that takes futures while it is iterated."""
    waiter = Waiter()
    futures = {jobs.submit(number): number for number in range(count)}
    for future in futures:
        waiter.listen(future)
    succeeded = 0
    while futures:
        waiter.event.wait()
        with waiter.lock:
            finished, waiter.finished = waiter.finished, []
            waiter.event.clear()
        for future in finished:
            number = futures.pop(future)
            if future.exception():
                again = jobs.submit(number, True)
                futures[again] = number
                waiter.listen(again)
            else:
                succeeded += 1
    return succeeded


RECIPES = {
    "Python, rounds": rounds,
    "Python, FIRST_COMPLETED": first_completed,
    "Python, tweaked as_completed": tweaked,
}


def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_nvcsw + usage.ru_nivcsw


def main():
    recipe, count, threads = RECIPES[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    with cf.ThreadPoolExecutor(threads) as executor:
        jobs = Jobs(executor)
        recipe(jobs, max(1, count // 10))
        jobs.attempts = 0
        (cpu, switches), begun = used(), time.monotonic()
        succeeded = recipe(jobs, count)
        seconds = time.monotonic() - begun
        cpu, switches = (after - before for after, before in zip(used(), (cpu, switches)))
    assert succeeded == count, f"{succeeded} of {count}"
    figures = {
        "seconds": seconds,
        "ns": seconds * 1e9 / jobs.attempts,
        "cpu_ns": cpu * 1e9 / jobs.attempts,
        "switches": switches / count,
        "over_ideal": seconds / (NAP * jobs.attempts / threads),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
