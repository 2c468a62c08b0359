import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan.core.hosts import normalise


@pytest.mark.parametrize(
    ("host", "tool"),
    [
        ("API.Stripe.com", "api.stripe.com"),
        ("api.stripe.com.", "api.stripe.com"),
        ("api.stripe.com:8443", "api.stripe.com"),
        ("user:secret@api.stripe.com", "api.stripe.com"),
        ("localhost", "localhost"),
        ("10.0.0.1", "*"),
        ("10.0.0.1:8080", "*"),
        ("[2001:db8::1]:443", "*"),
        ("2001:db8::1", "*"),
        ("::1", "*"),
        ("123456789012.ddb.eu-west-1.amazonaws.com", "*.ddb.eu-west-1.amazonaws.com"),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8.example.com", "*.example.com"),
        ("6BA7B8109DAD11D180B400C04FD430C8.example.com", "*.example.com"),
        ("tenant-6ba7b810-9dad-11d1-80b4-00c04fd430c8.example.com", "tenant-*.example.com"),
        ("ip-10-0-0-1.eu-west-1.compute.internal", "*.eu-west-1.compute.internal"),
        ("ec2-54-1-2-3.compute.amazonaws.com", "*.compute.amazonaws.com"),
        ("shard-7.example.com", "shard-7.example.com"),
        ("my-bucket.s3.eu-west-1.amazonaws.com", "my-bucket.s3.eu-west-1.amazonaws.com"),
        ("deadbeef.example.com", "deadbeef.example.com"),
        ("", "unknown"),
        (".", "unknown"),
    ],
)
def test_a_host_becomes_a_tool_without_what_differs_from_instance_to_instance(host, tool):
    """Hosts of one service become many dimensions, or hosts of two become one."""
    assert normalise(host) == tool


@given(st.text(max_size=80))
def test_any_host_becomes_a_tool_that_stays_the_same(host):
    """A strange host raises, becomes an empty name, or another name when seen again."""
    tool = normalise(host)
    assert tool
    assert normalise(tool) == tool


@given(st.ip_addresses())
def test_no_address_is_ever_a_tool(address):
    """Addresses become dimensions, one for each."""
    assert normalise(str(address)) == "*"
