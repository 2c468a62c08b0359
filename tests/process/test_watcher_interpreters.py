"""The watcher beside subinterpreters, which have a GIL of their own since Python 3.12."""

import json

INTERPRETERS = """
import threading, time
try:
    import _interpreters as interpreters
    create, run = interpreters.create, interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    create, run = (lambda: interpreters.create(isolated=True)), interpreters.run_string

BUSY = '''
import time
def deep(left):
    return deep(left - 1) + 1 if left else 0
until = time.monotonic() + 0.95
while time.monotonic() < until:
    deep(50)
'''

from coldspan.hot import stacks

def handler(event, context):
    made = [create() for _ in range(2)]
    threads = [threading.Thread(target=run, args=(each, BUSY)) for each in made]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 0.7
    while time.monotonic() < until:  # as the watcher, a thousand times
        stacks.take(0)
    for thread in threads:
        thread.join()
    for each in made:
        interpreters.destroy(each)

invoke(handler, left_ms=1000)
print(b"MainThread" in stacks.take(0))
"""


def test_stacks_of_a_process_with_subinterpreters_are_not_taken_promise_2(program):
    """Their frames come with ours and change at the same time: the process would crash."""
    run = program(INTERPRETERS)
    assert (run.err, run.code) == ("", 0)
    # Where they share one GIL (3.11), three busy threads may leave the watcher no turn before the deadline.
    said = [json.loads(line) for line in run.lines if "deadline_near" in line]
    assert [each["stacks"] for each in said] in ([[]], [])
    assert run.lines[-1] == "True"
