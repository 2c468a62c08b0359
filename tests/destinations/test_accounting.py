"""A destination that fails at random: each record is sent, or counted as dropped, and nothing grows."""

import os
import random
import threading
from pathlib import Path

from support.collector import CLOSE, DRIBBLE, HANG, Collector
from support.exporting import ChildProcess, lines

ROUNDS = 200
SEED = int(os.environ.get("COLDSPAN_SEED", "20261123"))
# Three failures in a row open the circuit: with more of them the test would be one of the breaker alone.
ANSWERS = (*[200] * 20, 503, 429, 400, 413, CLOSE, DRIBBLE, HANG)


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_every_record_is_sent_or_counted(capsys):
    """Records would be missing that nobody counted, or the process grow with each fault."""
    chance = random.Random(SEED)  # noqa: S311  # faults, not keys
    with capsys.disabled():
        print(f" seed {SEED}", end="")  # noqa: T201  # a failure is repeated with COLDSPAN_SEED
    told = set()
    with Collector() as collector:
        variables = {
            "OTEL_METRICS_EXPORTER": "none",
            "COLDSPAN_EXPORT_TIMEOUT_MS": "500",
            "COLDSPAN_EXPORT_QUEUE_KB": "64",
        }
        with ChildProcess(COLDSPAN_EXPORT="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables) as exporters:
            handed = 0
            warm = None
            for number in range(ROUNDS):
                for each in range(chance.randrange(1, 8)):
                    request_id = f"r-{number}-{each}"
                    exporters.tell(lines(request_id=request_id)[0])
                    told.add(request_id)
                    handed += 1
                collector.answers[:] = [chance.choice(ANSWERS) for _ in range(3)]
                answer = exporters.flush(0.4)
                account = answer["destinations"]["otlp"]
                assert account["received"] == handed
                assert account["sent"] + account["dropped"] + account["waiting"] == handed
                if number == ROUNDS // 3:
                    warm = descriptors(exporters.process.pid), exporters.rss_bytes()
            collector.answers.clear()
            collector.over.set()  # what hangs, ends
            exporters.settled()
            assert exporters.sent + sum(exporters.dropped.values()) == handed
            assert exporters.sent > 52  # more than the queue holds: not only what was left in the end
            assert descriptors(exporters.process.pid) <= warm[0] + 2
            waited = threading.Event()
            for _ in range(100):  # a watch that was called off ends in its own time
                if threads(exporters.process.pid) <= 2:
                    break
                waited.wait(0.05)
            assert threads(exporters.process.pid) == 2
            assert exporters.rss_bytes() - warm[1] < 8_000_000
        arrived = {
            attribute.value.string_value
            for span in collector.spans()
            for attribute in span.attributes
            if attribute.key == "faas.invocation_id"
        }
    assert arrived <= told
    assert len(arrived) >= exporters.sent  # what was not answered in time may have arrived as well
