"""Failures that come out of the libraries we hook. The event names a server, and a port where nobody answers."""

import functools
import http.client
import urllib.request


@functools.cache
def client(service, endpoint):
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=2)
    return boto3.client(service, endpoint_url=endpoint, region_name="eu-west-1", config=config)


def get(event, path):
    import requests

    return requests.get(event["url"] + path, timeout=2)


def pooled(event, path, **fields):
    import urllib3

    return urllib3.PoolManager().request("GET", event["url"] + path, retries=False, **fields)


def raw(event, path):
    connection = http.client.HTTPConnection(event["url"].removeprefix("http://"), timeout=2)
    connection.request("GET", path)
    return connection.getresponse().read()


def httpx_get(event, path):
    import httpx

    return httpx.get(event["url"] + path, timeout=2)


def aiohttp_get(event, path):
    import asyncio

    import aiohttp

    async def main():
        async with aiohttp.ClientSession() as session, session.get(event["url"] + path) as response:
            response.raise_for_status()
            return await response.text()

    return asyncio.run(main())


CASES = {
    "boto ok": lambda e: client("dynamodb", e["url"]).list_tables(),
    "boto refused by the service": lambda e: client("dynamodb", e["url"] + "/400").put_item(TableName="t", Item={}),
    "boto fault": lambda e: client("dynamodb", e["url"] + "/500").list_tables(),
    "boto junk": lambda e: client("dynamodb", e["url"] + "/junk").list_tables(),
    "boto bad parameter": lambda e: client("dynamodb", e["url"]).put_item(TableName=5),
    "boto unknown operation": lambda e: client("dynamodb", e["url"]).no_such_operation(),
    "boto nobody there": lambda e: client("dynamodb", e["dead"]).list_tables(),
    "boto reset": lambda e: client("dynamodb", e["url"] + "/reset").list_tables(),
    "requests status": lambda e: get(e, "/500").raise_for_status(),
    "requests json": lambda e: get(e, "/junk").json(),
    "requests nobody there": lambda e: get({"url": e["dead"]}, "/"),
    "requests reset": lambda e: get(e, "/reset"),
    "requests bad url": lambda e: get({"url": "nonsense:"}, "//"),
    "urllib3 nobody there": lambda e: pooled({"url": e["dead"]}, "/"),
    "urllib3 reset": lambda e: pooled(e, "/reset"),
    "urllib3 truncated": lambda e: pooled(e, "/truncated"),
    "urllib status": lambda e: urllib.request.urlopen(e["url"] + "/404"),
    "urllib nobody there": lambda e: urllib.request.urlopen(e["dead"]),
    "http.client reset": lambda e: raw(e, "/reset"),
    "http.client truncated": lambda e: raw(e, "/truncated"),
    "http.client misuse": lambda e: http.client.HTTPConnection("127.0.0.1:1").getresponse(),
    "httpx nobody there": lambda e: httpx_get({"url": e["dead"]}, "/"),
    "httpx reset": lambda e: httpx_get(e, "/reset"),
    "httpx status": lambda e: httpx_get(e, "/500").raise_for_status(),
    "aiohttp nobody there": lambda e: aiohttp_get({"url": e["dead"]}, "/"),
    "aiohttp status": lambda e: aiohttp_get(e, "/500"),
}


def handler(event, context):
    """Fail downstream as the event says."""
    result = CASES[event["case"]](event)
    return str(type(result))
