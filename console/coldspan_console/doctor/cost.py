"""What the metrics of a function cost a month at a given traffic. Pure; the prices stand here with their source."""

# us-east-1, on demand, without the free tier. Source: AWS, "Amazon CloudWatch pricing" and "AWS X-Ray pricing".
CHECKED = "2026-11"
METRIC_USD = 0.30  # each of the first 10,000 custom metrics, a month
INGESTED_GB_USD = 0.50  # logs, standard class
TRACE_USD = 5.0 / 1_000_000  # each recorded
MONTH_S = 30 * 86_400
METRICS_OF_AN_INVOCATION, METRICS_OF_A_PAIR, MOST_PAIRS = 13, 4, 20


def sampled_share(per_second: float) -> float:
    """What share X-Ray samples with Active tracing: the first request of each second and 5 % of the others.

    Source: AWS X-Ray developer guide, "Configuring sampling rules", the default rule.
    """
    return 1.0 if per_second <= 1 else (1 + 0.05 * (per_second - 1)) / per_second


def estimate(per_second: float, pairs: int, bytes_each: float) -> "dict[str, float]":
    """A month's cost in USD with Active tracing: metrics, logs, traces and their sum.

    Takes: invocations a second, (tool, operation) pairs, bytes of EMF an invocation.
    """
    invocations = per_second * MONTH_S
    metrics = (METRICS_OF_AN_INVOCATION + METRICS_OF_A_PAIR * min(pairs, MOST_PAIRS + 1)) * METRIC_USD
    logs = invocations * bytes_each / 1e9 * INGESTED_GB_USD
    traces = invocations * sampled_share(per_second) * TRACE_USD
    return {
        "invocations": invocations,
        "metrics": metrics,
        "logs": logs,
        "traces": traces,
        "sum": metrics + logs + traces,
    }
