"""The StatsD exporter: lines, packets, and what it answers when nobody takes them."""

import contextlib
import socket
import threading

import pytest

from coldspan.core.emf import CALL_METRICS, METRICS
from coldspan.core.usermetrics import UNITS as CLOUDWATCH_UNITS
from coldspan_blackbox.exporting import statsd
from coldspan_blackbox.exporting.exporter import ConfigurationError, Sent
from coldspan_blackbox.exporting.names import OURS, UNITS
from coldspan_blackbox.exporting.statsdlines import PACKET_BYTES, lines_of, packets_of
from coldspan_blackbox.lines import NOT_EXPORTED
from coldspan_blackbox.lines import UNITS as BLACK_BOX_UNITS
from support.destinations import Peer, call_record, free_port, record, slow_resolver, within


def make(address, **variables):
    """An exporter as its variables make it."""
    return statsd.create({"COLDSPAN_STATSD_ADDRESS": address, **variables}, str)


@pytest.fixture
def agent():
    """A UDP socket that keeps what it gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(2)
        yield opened


@contextlib.contextmanager
def exporter_to(opened, scheme="udp", **variables):
    """An exporter to a socket's address."""
    exporter = make(f"{scheme}://127.0.0.1:{opened.getsockname()[1]}", **variables)
    try:
        yield exporter
    finally:
        exporter.close()


def lines(records, *, tagged=False, prefix="coldspan"):
    """Their lines, as text."""
    return [line.decode() for some in lines_of(records, prefix, tagged=tagged) for line in some]


def test_every_metric_of_ours_has_a_name():
    """A metric of ours would change its name when CloudWatch's is reworded."""
    assert {*METRICS, *CALL_METRICS, *BLACK_BOX_UNITS} - set(NOT_EXPORTED) == set(OURS)
    assert len(set(OURS.values())) == len(OURS)


def test_every_unit_of_cloudwatch_is_converted():
    """A value would be told in another unit than its name says."""
    plain = {unit for unit in CLOUDWATCH_UNITS if not unit.endswith("/Second")}
    assert plain - set(UNITS) == {"Count", "None"}


def test_attributes_stand_in_the_name():
    """Plain StatsD has no tags: two functions would be added up."""
    assert lines([call_record(12.5, 3, failures=2)]) == [
        "coldspan.orders.dynamodb.PutItem.call_duration:12.500000|ms",
        "coldspan.orders.dynamodb.PutItem.call_duration:3.000000|ms",
        "coldspan.orders.dynamodb.PutItem.call_failures:2|c",
    ]


def test_attributes_become_tags():
    """DogStatsD would see a metric for each function instead of one with tags."""
    assert lines([call_record(12.5, failures=1)], tagged=True) == [
        "coldspan.call_duration:12.500000|ms|#function_name:orders,operation:PutItem,tool:dynamodb",
        "coldspan.call_failures:1|c|#function_name:orders,operation:PutItem,tool:dynamodb",
    ]


@pytest.mark.parametrize(
    ("unit", "value", "line"),
    [
        ("Microseconds", 1500, "f.{}:1.500000|ms"),
        ("Seconds", 2, "f.{}:2000.000000|ms"),
        ("Kilobytes", 3, "f.{}_bytes:3000.000000|ms"),
        ("Percent", 50, "f.{}_ratio:0.500000|ms"),
        ("Count", 7, "f.{}:7|c"),
        ("None", 0.25, "f.{}:0.250000|ms"),
        ("Megabits/Second", 8, "f.{}_bytes_per_second:1000000.000000|ms"),
    ],
)
def test_units_become_base_units(unit, value, line):
    """A number would stand for another size than its type and name say."""
    assert lines([record({"MyThing": (unit, value)}, function_name="f")], prefix="") == [line.format("my_thing")]


def test_lambdas_memory_is_told_in_bytes_of_which_1_048_576_are_one_of_its_mb():
    """128 MB would be 122 on a dashboard beside the function's setting."""
    made = record({"MaxMemoryUsed": ("Megabytes", 1), "Mine": ("Megabytes", 1)}, function_name="f")
    assert lines([made], prefix="") == [
        "f.max_memory_used_bytes:1048576.000000|ms",
        "f.mine_bytes:1000000.000000|ms",
    ]


def test_what_would_end_a_name_a_tag_or_a_line_is_replaced():
    """A function's or host's name would make a second metric, or a broken line."""
    odd = call_record(1, tool="a.b:c|d\ne#f,g", operation="é" * 500)
    for tagged in (False, True):
        for line in lines([odd], tagged=tagged):
            assert line.isascii()
            assert line.count(":") - line.count(",") == (2 if tagged else 1)
            assert "\n" not in line
            assert len(line) < 700


def test_packets_are_whole_lines_within_the_limit():
    """A packet larger than a frame is lost with all that is in it, or cut."""
    text = [line.encode() for line in lines([call_record(*range(50)) for _ in range(20)])]
    packets = packets_of(text)
    assert max(map(len, packets)) <= PACKET_BYTES
    assert b"".join(packets) == b"".join(line + b"\n" for line in text)
    assert len(packets) > 10


def test_a_number_that_is_none_is_left_out():
    """NaN would be a bad line, or poison the sum."""
    points = record({"Duration": ("Milliseconds", [1.0, float("nan"), float("inf")])}, function_name="f")
    assert lines([points]) == ["coldspan.f.invocation_duration:1.000000|ms"]


def test_a_batch_arrives_by_udp(agent):
    """Nothing would be sent at all."""
    with exporter_to(agent) as exporter:
        assert exporter.export([call_record(5)], 1).state is Sent.SENT
        assert agent.recv(2_000).startswith(b"coldspan.orders.dynamodb.PutItem.call_duration:5.000000|ms\n")


def test_a_batch_without_points_is_sent():
    """The calls of a large invocation would be tried for ever."""
    exporter = make(f"tcp://127.0.0.1:{free_port()}")
    assert exporter.export([record({}, function_name="f")], 1).state is Sent.SENT


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_nobody_listening_is_a_retry(scheme):
    """What nobody took would be counted as sent."""
    port = free_port(socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM)
    exporter = make(f"{scheme}://127.0.0.1:{port}")
    with within(0.5):
        result = exporter.export([call_record(1)], 1)
    exporter.close()
    assert (result.state, result.reason) == (Sent.RETRY, "connection_refused")


def test_a_batch_goes_on_where_the_agent_went_away(agent):
    """Packets that had arrived would be counted twice, or those that had not would be lost."""
    batch = [call_record(*range(100)) for _ in range(3)]
    expected = b"".join(line.encode() + b"\n" for line in lines(batch))
    exporter = make(f"127.0.0.1:{agent.getsockname()[1]}")
    got = b""
    assert exporter.export([call_record(1)], 1).state is Sent.SENT
    agent.recv(2_000)
    # the agent dies after two packets of the batch
    delivery = exporter._delivery = exporter._packed(batch)
    for packet in delivery.packets[:2]:
        exporter._socket.send(packet)
        got += agent.recv(2_000)
    delivery.at = 2
    address = agent.getsockname()
    agent.close()
    assert exporter.export(batch, 1).state is Sent.RETRY
    assert delivery.at == 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(address)
        again.settimeout(2)
        assert exporter.export(batch, 1).state is Sent.SENT
        while len(got) < len(expected):
            got += again.recv(2_000)
    exporter.close()
    assert got == expected


LARGE = [call_record(*range(100)) for _ in range(600)]


@pytest.fixture
def small_listener():
    """A TCP server with little room for what it does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        yield listener


def test_a_stream_that_is_not_read_is_given_up_in_time_and_goes_on_later(small_listener):
    """A hung receiver would hold the invocation, or count twice what it had when it wakes."""
    expected = b"".join(line.encode() + b"\n" for line in lines(LARGE))
    with exporter_to(small_listener, "tcp") as exporter:
        with within(1.2):
            result = exporter.export(LARGE, 1)
        assert (result.state, result.reason) == (Sent.RETRY, "timeout")
        got = read_in_thread(small_listener)
        assert exporter.export(LARGE, 10).state is Sent.SENT
    assert got() == expected


def test_a_stream_that_ends_in_the_middle_goes_on_in_another(small_listener):
    """Lines that had arrived would be counted twice, or those that had not would be lost."""
    expected = b"".join(line.encode() + b"\n" for line in lines(LARGE))
    with exporter_to(small_listener, "tcp") as exporter:
        assert exporter.export(LARGE, 1).reason == "timeout"
        ended, _ = small_listener.accept()
        exporter._connection(exporter._delivery, 0)
        arrived = exporter._delivery.at
        ended.close()  # with bytes unread: a reset
        got = read_in_thread(small_listener)
        assert exporter.export(LARGE, 10).state is Sent.SENT
    assert 0 < arrived < len(expected)
    assert got() == expected[arrived:]


def test_a_new_batch_does_not_follow_half_a_line(small_listener):
    """The rest of a line of a batch that was given up would make a wrong number of the first one of the next."""
    with exporter_to(small_listener, "tcp") as exporter:
        assert exporter.export(LARGE, 1).reason == "timeout"
        assert exporter.export([call_record(1)], 1).state is Sent.SENT
        read_all(small_listener.accept()[0])
        got = read_in_thread(small_listener)
    assert got().decode().splitlines() == lines([call_record(1)])


def read_all(opened):
    """All that arrives until the connection ends."""
    text = b""
    opened.settimeout(5)
    with opened, contextlib.suppress(ConnectionResetError):
        while more := opened.recv(65_536):
            text += more
    return text


def read_in_thread(listener):
    """Read the next connection to its end; gives the function that gives what was read."""
    got = []
    thread = threading.Thread(target=lambda: got.append(read_all(listener.accept()[0])))
    thread.start()

    def result():
        thread.join(10)
        return got[0]

    return result


def test_a_connection_that_was_closed_is_made_again():
    """The first batch after a thaw would be lost in a connection that had ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener, exporter_to(listener, "tcp") as exporter:
        first = [call_record(1)]
        assert exporter.export(first, 1).state is Sent.SENT
        listener.accept()[0].close()
        assert exporter.export([call_record(2)], 1).state is Sent.SENT
        second, _ = listener.accept()
        with second:
            second.settimeout(2)
            assert b"call_duration:2.0" in second.recv(2_000)


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_silent_name_server_is_given_up_in_time(monkeypatch, scheme):
    """A resolver waits 10 s and more, whatever the time limit of a socket."""
    answered = slow_resolver(monkeypatch)
    exporter = make(f"{scheme}://statsd.example:8125")
    batch = [call_record(1)]
    for _ in range(2):
        with within(0.4):
            assert exporter.export(batch, 0.2).reason == "timeout"
    answered.set()
    assert exporter.export(batch, 2).reason == "dns"
    exporter.close()


def test_a_line_that_fits_no_packet_is_refused_and_counted():
    """It would be cut, or be tried for ever."""
    with Peer("silent") as peer:
        exporter = make(f"tcp://127.0.0.1:{peer.port}", COLDSPAN_STATSD_TAGS="dogstatsd")
        also = [f"dimension_{number}" for number in range(19)]
        long = call_record(1, also=also, **dict.fromkeys(also, "x" * 300))
        result = exporter.export([long], 1)
        assert (result.state, result.reason) == (Sent.REFUSED, "line_too_long")
        result = exporter.export([call_record(1), long], 1)
        assert (result.state, result.refused_count) == (Sent.SENT, 1)
        exporter.close()


@pytest.mark.parametrize(
    ("address", "scheme", "host", "port"),
    [
        ("10.0.0.1:9125", "udp", "10.0.0.1", 9125),
        ("udp://agent", "udp", "agent", 8125),
        ("tcp://[::1]:8126", "tcp", "::1", 8126),
    ],
)
def test_an_address_is_read(address, scheme, host, port):
    """Metrics would go somewhere else."""
    exporter = make(address)
    assert (exporter.scheme, exporter.host, exporter.port) == (scheme, host, port)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"COLDSPAN_STATSD_ADDRESS": "http://x:1"},
        {"COLDSPAN_STATSD_ADDRESS": "x:99999"},
        {"COLDSPAN_STATSD_ADDRESS": "udp://"},
        {"COLDSPAN_STATSD_ADDRESS": "x", "COLDSPAN_STATSD_TAGS": "influx"},
        {"COLDSPAN_STATSD_ADDRESS": "x", "COLDSPAN_STATSD_PREFIX": "a b"},
    ],
)
def test_what_cannot_work_is_said_with_its_variable(variables):
    """The user would search for the reason why nothing arrives."""
    with pytest.raises(ConfigurationError, match=list(variables or {"COLDSPAN_STATSD_ADDRESS": ""})[-1]):
        statsd.create(variables, str)
