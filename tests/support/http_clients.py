"""The HTTP clients that are hooked, each as one function `fetch(url, ...)` that does a whole request in its own way."""

import asyncio
import contextlib
import http.client
import importlib
import urllib.error
import urllib.request
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests
import urllib3

from coldspan.core.record import Invocation
from coldspan.core.trace import parse
from coldspan.hot import aiohttp as aiohttp_hook
from coldspan.hot import http_client as http_client_hook
from coldspan.hot import httpx as httpx_hook
from coldspan.hot import urllib3 as urllib3_hook
from coldspan.hot.patch import restore

try:
    httpx2 = importlib.import_module("httpx2")
except ImportError:
    httpx2 = None

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1|b:2"


@contextlib.contextmanager
def hooked(scope, *, invocation=True):
    """Install every HTTP hook on `scope` inside a live invocation; give it, and take all away again."""
    patches = []
    http_client_hook.install(http.client, scope, patches)
    urllib3_hook.install(urllib3.connectionpool, scope, patches)
    urllib3_hook.install(urllib3.poolmanager, scope, patches)
    httpx_hook.install(httpx, scope, patches)
    if httpx2 is not None:
        httpx_hook.install(httpx2, scope, patches)
    aiohttp_hook.install(aiohttp.client, scope, patches)
    live = Invocation("invocation", "request-1", scope.new_id(), scope.clock(), scope.wall())
    live.trace = parse(TRACE)
    token = scope.current.set(live if invocation else None)
    try:
        yield live
    finally:
        scope.current.reset(token)
        restore(patches)


def answer_of(status, body):
    """What every `fetch` gives."""
    return SimpleNamespace(status=status, body=body)


def by_http_client(url, *, method="GET", body=None, headers=None, timeout=5, context=None):
    parts = urlsplit(url)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    with contextlib.closing(connection):
        target = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        return answer_of(response.status, response.read())


def by_urllib(url, *, method="GET", body=None, headers=None, timeout=5, context=None):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as response:
            return answer_of(response.status, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return answer_of(error.code, error.read())


def by_urllib3(url, *, method="GET", body=None, headers=None, timeout=5, context=None):
    with urllib3.PoolManager(ssl_context=context, retries=False, timeout=timeout) as manager:
        response = manager.request(method, url, body=body, headers=headers)
        return answer_of(response.status, response.data)


def by_urllib3_stream(url, *, method="GET", body=None, headers=None, timeout=5, context=None):
    parts = urlsplit(url)
    secure = {"ssl_context": context} if parts.scheme == "https" else {}
    pool = urllib3.connection_from_url(url, retries=False, timeout=timeout, **secure)
    with pool:
        response = pool.urlopen(method, parts.path, body=body, headers=headers, preload_content=False)
        return answer_of(response.status, b"".join(response.stream(16)))


class Trusting(requests.adapters.HTTPAdapter):
    def __init__(self, context):
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)


def by_requests(url, *, method="GET", body=None, headers=None, timeout=5, context=None):
    with requests.Session() as session:
        session.trust_env = False
        if context is not None:
            session.mount("https://", Trusting(context))
        response = session.request(method, url, data=body, headers=headers, timeout=timeout)
        return answer_of(response.status_code, response.content)


def by_httpx(url, *, module=httpx, method="GET", body=None, headers=None, timeout=5, context=None):
    verify = True if context is None else context
    with module.Client(trust_env=False, timeout=timeout, verify=verify, follow_redirects=True) as client:
        response = client.request(method, url, content=body, headers=headers)
        return answer_of(response.status_code, response.content)


def by_httpx_async(url, *, module=httpx, method="GET", body=None, headers=None, timeout=5, context=None):
    async def main():
        verify = True if context is None else context
        async with module.AsyncClient(trust_env=False, timeout=timeout, verify=verify, follow_redirects=True) as client:
            response = await client.request(method, url, content=body, headers=headers)
            return answer_of(response.status_code, response.content)

    return asyncio.run(main())


def by_httpx2(url, **options):
    return by_httpx(url, module=httpx2, **options)


def by_httpx2_async(url, **options):
    return by_httpx_async(url, module=httpx2, **options)


def by_aiohttp(url, *, method="GET", body=None, headers=None, timeout=5, context=None):
    async def main():
        limits = aiohttp.ClientTimeout(total=None, connect=timeout, sock_read=timeout)
        async with aiohttp.ClientSession(timeout=limits) as session:
            ssl = {} if context is None else {"ssl": context}
            async with session.request(method, url, data=body, headers=headers, **ssl) as response:
                return answer_of(response.status, await response.read())

    return asyncio.run(main())


CLIENTS = {
    "http_client": by_http_client,
    "urllib": by_urllib,
    "urllib3": by_urllib3,
    "urllib3_stream": by_urllib3_stream,
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx_async": by_httpx_async,
    "aiohttp": by_aiohttp,
}
if httpx2 is not None:
    CLIENTS |= {"httpx2": by_httpx2, "httpx2_async": by_httpx2_async}
