"""What text may leave, and what is taken out of it first."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan.core import limits
from coldspan.core.mask import MARK, is_secret_key, mask_text, mask_values

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

SECRETS = {
    "bearer": ("Authorization: Bearer abcDEF123.xyz", "abcDEF123"),
    "bearer alone": ("sent Bearer 0a1b2c3d4e5f as token", "0a1b2c3d4e5f"),
    "basic": ("Basic dXNlcjpwYXNz was refused", "dXNlcjpwYXNz"),
    "jwt": ("token " + JWT + " expired", "c2lnbmF0dXJl"),
    "aws key id": ("key AKIAIOSFODNN7EXAMPLE is unknown", "IOSFODNN7"),
    "aws temporary key id": ("key ASIAIOSFODNN7EXAMPLE is unknown", "IOSFODNN7"),
    "aws secret": ("signed with " + AWS_SECRET + " today", "K7MDENG"),
    "aws secret as a pair": ("{'SecretAccessKey': '" + AWS_SECRET + "'}", "K7MDENG"),
    "password pair": ("login failed: user=joe password=hunter2", "hunter2"),
    "password with a comma": ("password=hunter2,rest", "rest"),
    "password in JSON": ('{"password": "hun\\"ter2"}', "ter2"),
    "password in escaped JSON": ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    "password escaped many times": ('password": "hunter2"'.replace('"', "\\" * 63 + '"'), "hunter2"),
    "password in a list": ("password: ['hunter2']", "hunter2"),
    "password as bytes": ("{'password': b'hunter2'}", "hunter2"),
    "password over two lines": ("password:\n  hunter2", "hunter2"),
    "element": ("<db:Password kind='x'>hunter2</db:Password>", "hunter2"),
    "CDATA": ("<token><![CDATA[hunter2]]></token>", "hunter2"),
    "cookie": ("Cookie: a=hunter2; session=hunter3; c=hunter4", "hunter"),
    "signed URL": ("GET https://b.s3.amazonaws.com/k?X-Amz-Signature=deadbeef00&x=1", "deadbeef00"),
    "shared access signature": ("https://a.blob.core.windows.net/c?sv=1&sig=deadbeef00", "deadbeef00"),
    "userinfo": ("could not reach https://joe:hunter2@db.example.com/x", "hunter2"),
    "userinfo with reserved characters": ("redis://:hun#t/er2@cache:6379/0", "er2"),
    "e-mail": ("no such user joe.doe+x@mail.example.co.uk", "joe.doe"),
    "card": ("card 4111111111111111 declined", "41111111"),
    "card in groups": ("card 4111 1111 1111 1111 12/26 declined", "1111"),
    "card with dashes": ("card 3782-822463-10005 declined", "822463"),
    "card after an empty key": ("password=\n4111 1111 1111 1111", "1111"),
    "private key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
    "GitHub token": ("remote: ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
    "Stripe key": ("Invalid API Key provided: sk_live_abcdefgh12345678", "abcdefgh"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_mask_text_with_a_secret_hides_it_promise_6(name):
    """Promise 6: error text is masked."""
    text, secret = SECRETS[name]
    masked = mask_text(text)
    assert secret not in masked
    assert MARK in masked


@pytest.mark.parametrize(
    "text",
    [
        "AccessDeniedException: arn:aws:sts::123456789012:assumed-role/orders/orders may not dynamodb:PutItem",
        "resource arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf is missing",
        "Could not connect to the endpoint URL: https://sqs.eu-west-1.amazonaws.com:443/",
        "took 1700000000123 ms, until 1700000000123456789",
        "commit 0123456789abcdef0123456789abcdef01234567, request 5e9f2a1c-0d3b-4c56-8a77-112233445566",
        "Basic authentication failed for foo@1.2.3",
        "card 4111111111111112 has a wrong check digit",
    ],
)
def test_mask_text_without_a_secret_keeps_every_word(text):
    """An error message that says what is wrong must go on saying it."""
    assert mask_text(text) == text


def test_mask_text_keeps_what_stands_around_a_secret():
    """A masked message must still tell which host, which key and which user."""
    text = "https://joe:pw@db.example.com:5432/orders?password=x&ssl=1 refused"
    assert mask_text(text) == "https://***@db.example.com:5432/orders?password=***&ssl=1 refused"


def test_mask_text_with_control_characters_gives_one_printable_line():
    """A message must not be able to break a log line or to rewrite a terminal."""
    text = mask_text("a\r\nb\x1b[31mc\x00d\u2028e\u202ef\ud800g")
    assert text == "a  b [31mc d e f g"
    assert text.encode() == text.encode("utf-8", "strict")


@pytest.mark.parametrize("secret", ["4111 1111 1111 1111", "joe.doe@mail.example.com", AWS_SECRET])
@pytest.mark.parametrize("place", [100, 240, 250, 256, 990, 1000, 1010, 1020])
def test_mask_text_cut_through_a_secret_shows_no_half_of_it(secret, place):
    """Cutting to a length must not make a secret unrecognisable and let its beginning through."""
    for padding in ("x" * place, JWT * 30):
        text = mask_text((padding + " " + secret)[: limits.RAW_TEXT_CHARS])
        assert len(text) <= limits.MESSAGE_CHARS
        assert secret[:8] not in text


@pytest.mark.parametrize("value", [None, 7, b"password=x", object(), ["x"]])
def test_mask_text_of_no_text_gives_nothing(value):
    """A field that is not text costs nothing."""
    assert mask_text(value) == ""


def test_mask_text_never_calls_methods_of_a_str_subclass():
    """A str of the customer's own class must not get to run code in our drain."""

    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError

        __len__ = __getitem__ = __iter__ = lower = isprintable = __str__

    masked = mask_text(Loud("password=hunter2"))
    assert masked == "password=***"
    assert type(masked) is str


PIECES = st.sampled_from((
    "password=", "token: ", '"secret": "', "eyJ", "AKIA", "@", "://", ":", "a@b.co", "4111111111111111", "4111 1111 ",
    "1111", "Bearer ", "basic ", "cookie: ", "; ", "<pwd>", "</", "\\", '"', "'", ",", "&", "{", "}", "[", "]", "\n",
    "*", "***", "x" * 40, "aB3" * 14, "-----BEGIN PRIVATE KEY-----",
))  # fmt: skip
TEXTS = st.one_of(st.text(max_size=400), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=60).map("".join))


@given(TEXTS, st.sampled_from([8, 32, 256]))
def test_mask_text_of_any_text_is_bounded_printable_and_idempotent(text, limit):
    """Masking twice, as text passes from call to invocation, must not change what was masked once."""
    once = mask_text(text, limit)
    assert len(once) <= limit
    assert once.isprintable()
    assert mask_text(once, limit) == once


@given(TEXTS, st.sampled_from(sorted(SECRETS)), TEXTS)
def test_mask_text_with_anything_around_a_secret_never_raises_and_hides_it(before, name, after):
    """What stands beside a secret must not protect it from being masked."""
    text, secret = SECRETS[name]
    if secret in before or secret in after:
        return
    assert secret not in mask_text(before + "\n " + text + " \n" + after, 4096)


HOSTILE = {
    "eyJ": "eyJ" * 33_333,
    "password": "password" * 12_500,
    "password spaces": "password" + " " * 100_000,
    "password brackets": "password=" + "[" * 100_000,
    "braces": "password={" * 12_000,
    "open quote": 'password="' + "\\" * 100_000,
    "backslashes": "password=" + "\\" * 100_000,
    "escaped quotes": 'password\\": \\"' + "\\" * 50_000 + "\\\\a" * 15_000,
    "a@": "a" * 100_000 + "@",
    "a@b.": "a@b." * 25_000,
    "a@b.b.": "a@" + "b." * 50_000,
    "://": "://a:" * 20_000 + "@",
    "://@": "://" + "a" * 100_000 + "@",
    "digits": "1111 " * 20_000,
    "cards": "4111-" * 20_000,
    "ones": "1 " * 50_000,
    "tags": "<" * 100_000 + "</token",
    "open tags": "<password " * 10_000 + "</",
    "BEGIN": "-----BEGIN PRIVATE KEY-----" * 4_000,
    "bearer": "bearer " * 14_000,
    "cookie": "cookie: " + "a;" * 50_000,
    "base64": "aB3/" * 25_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_mask_values_of_a_hostile_text_takes_linear_time(name):
    """A text made to defeat a pattern must not hold the drain: quadratic time at 100 KB would be minutes."""
    started = time.process_time()
    mask_values(HOSTILE[name])
    assert time.process_time() - started < 2
    started = time.process_time()
    mask_text(HOSTILE[name])
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize(
    "key", ["DB_PASSWORD", "x-api-key", "clientSecret", "Set-Cookie", "sessionToken", "ssn", "Pin"]
)
def test_is_secret_key_knows_a_name_however_it_is_written(key):
    """Case and separators must not hide a key."""
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key", ["name", "className", "shipping", "design", "authorId", "passenger", "panel", "orderId"]
)
def test_is_secret_key_leaves_ordinary_names(key):
    """A record in which everything is masked says nothing."""
    assert not is_secret_key(key)


def test_keys_of_the_user_are_masked_in_text_too():
    """COLDSPAN_MASK_KEYS must hold wherever the key appears."""
    assert is_secret_key("Customer-Name", ("customername",))
    assert mask_values("customer_name=Joe; x=1", ("customername",)) == "customer_name=***; x=1"
