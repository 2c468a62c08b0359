"""An external extension for tests: it does what PROBE_* variables say and prints what it saw, in lines of JSON.

PROBE_EVENTS names the events to register for; PROBE_TELEMETRY the types to subscribe to; PROBE_DO what to do on an
INVOKE: "exit" to end itself, a number to hold the next event back for so many seconds.
"""

import http.client
import http.server
import json
import os
import pathlib
import sys
import threading

API = os.environ["AWS_LAMBDA_RUNTIME_API"]


def say(**seen):
    """One line, at once: other threads print, too."""
    os.write(1, json.dumps({"probe": seen}).encode() + b"\n")


def ask(method, path, body=None, **headers):
    """One request; (status, headers, body)."""
    connection = http.client.HTTPConnection(API)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        say(telemetry=json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


name = pathlib.Path(sys.argv[0]).name
body = json.dumps({"events": os.environ.get("PROBE_EVENTS", "INVOKE,SHUTDOWN").split(",")})
status, headers, told = ask("POST", "/2020-01-01/extension/register", body, Lambda_Extension_Name=name)
identifier = headers["Lambda-Extension-Identifier"] or ""
say(
    status=status,
    told=json.loads(told),
    environment=sorted(os.environ),
    pid=os.getpid(),
    tmp=sorted(path.name for path in pathlib.Path("/tmp").iterdir()),  # noqa: S108 - the function's own
)
if "PROBE_TELEMETRY" in os.environ:
    server = http.server.HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    body = {
        "schemaVersion": "2022-12-13",
        "types": os.environ["PROBE_TELEMETRY"].split(","),
        "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25},
        "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{server.server_port}"},
    }
    status, _, told = ask("PUT", "/2022-07-01/telemetry", json.dumps(body), Lambda_Extension_Identifier=identifier)
    say(subscribed=status, told=json.loads(told))
while True:
    _, _, told = ask("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=identifier)
    event = json.loads(told)
    say(event=event)
    if event["eventType"] == "SHUTDOWN":
        break
    do = os.environ.get("PROBE_DO", "0")
    if do == "exit":
        sys.exit(1)
    threading.Event().wait(float(do))
