"""Every limit the recorder keeps to, with where it comes from."""

# CloudWatch embedded metric format specification.
EMF_EVENT_BYTES = 1_000_000  # PutLogEvents: 1 MB an event; a margin for the envelope that Lambda adds under JSON logs
EMF_METRICS_PER_DIRECTIVE = 100
EMF_VALUES_PER_METRIC = 100
EMF_DIMENSION_VALUE_CHARS = 1024
EMF_NAME_CHARS = 1024
EMF_NAMESPACE_CHARS = 1024

# X-Ray segment documents and daemon.
XRAY_DATAGRAM_BYTES = 64_000  # a UDP datagram holds 65,507; the daemon reads 64 KB, header line included
XRAY_NAME_CHARS = 200
XRAY_STRING_CHARS = 250
XRAY_ANNOTATIONS = 50

# The black box's socket. However small they are, 11 datagrams wait for a reader that has not had its turn, which on one
# processor is all that a drain can send: net.unix.max_dgram_qlen is 10 unless systemd raises it. So lines are joined.
EXPORT_DATAGRAM_BYTES = 65_536  # of joined lines; three such fit the sender's buffer, net.core.wmem_default of 212,992

EXPORT_LINE_BYTES = 180_000  # of one document: what is over net.core.wmem_default no datagram takes

# Lambda quotas: a synchronous response of 6 MB, and 100 bytes that the service allows on top.
RESPONSE_BYTES = 6_291_556

# Ours: what one environment may hold, so that a runaway loop costs counters and not memory.
CALLS_PER_INVOCATION = 1_000
CALLS_OUTSIDE = 1_000  # init, background and late calls waiting for a drain
INVOCATIONS_WAITING = 20
LINES_WAITING = 500  # encoded lines and datagrams that a drain's budget left over
METRICS_PER_INVOCATION = 200
ANNOTATIONS_PER_INVOCATION = 50
MESSAGE_CHARS = 256
RAW_TEXT_CHARS = 1_024  # kept on the hot path, before masking cuts it to MESSAGE_CHARS
TOOLS_AS_DIMENSIONS = 20
PAYLOAD_BYTES = 4_096
PAYLOAD_DEPTH = 6

# Ours: what is told of an invocation that is about to be killed.
STACK_FRAMES = 50  # of one thread or task, the innermost
STACK_THREADS = 20
STACK_TASKS = 20
STACK_BYTES = 16_384
STACK_NAME_CHARS = 100
STACK_FILE_CHARS = 200
LAST_CALLS = 50  # finished calls in the last words, the latest
