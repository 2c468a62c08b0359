"""The AWS of a local run: moto's server, as `coldspan run --aws moto` and `coldspan local --aws moto` start it."""

import http.client
from urllib.parse import urlsplit

import pytest

from coldspan_console.demo import Moto


@pytest.mark.timeout(120)
def test_motos_server_still_answers_after_thousands_of_requests():
    """Its log went into a pipe that nobody read: a queue that is polled once a second stood still after ten minutes."""
    with Moto() as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
        for number in range(2_000):
            connection.request("GET", f"/moto-api/data.json?{number}&{'x' * 100}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            if answer.will_close:
                connection.close()
        connection.close()
