"""One execution environment: the function's process with its folders where Lambda mounts them, read-only."""

import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from bench.prepare import Workshop
from bench.setups import Setup

MOUNTS = """set -e
mount --bind "$1" /opt; mount -o remount,ro,bind /opt
mount -t tmpfs -o mode=755 tmpfs /var
mkdir /var/task /var/runtime /var/tmp
mount --bind "$2" /var/task; mount -o remount,ro,bind /var/task
mount --bind "$3" /var/runtime; mount -o remount,ro,bind /var/runtime
cd /var/task; shift 3; exec "$@"
"""


def unshare() -> list[str]:
    """The command that gives a process its own mounts, for root and for others."""
    return ["unshare", "--mount" if os.geteuid() == 0 else "-rm", "--propagation", "private"]


@cache
def can_mount() -> bool:
    """Whether this machine lets us put the folders at /opt and /var/task."""
    in_the_way = [path for path in (str(Path.cwd()), sys.base_prefix) if path.startswith(("/opt", "/var"))]
    if in_the_way or not Path("/opt").is_dir():
        return False
    try:
        tried = subprocess.run([*unshare(), "mount", "-t", "tmpfs", "none", "/var"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


def environment(workshop: Workshop, setup: Setup, function: str, ports: dict[str, int]) -> dict[str, str]:
    """The variables of a real function on x86_64; the same number of them under each setup but for its own."""
    sink = f"127.0.0.1:{ports['sink']}"
    mounted = can_mount()
    handler = f"{function}.handler"
    variables = {
        "PATH": f"{workshop.lang}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONHASHSEED": "0",
        "LAMBDA_TASK_ROOT": "/var/task" if mounted else str(workshop.task(setup)),
        "LAMBDA_RUNTIME_DIR": "/var/runtime" if mounted else str(workshop.runtime),
        "_HANDLER": setup.handler or handler,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{ports['runtime']}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{workshop.version}",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{ports['xray']}",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://{sink}",
        "PRICES_URL": f"http://{sink}/prices/1",
    }
    if not mounted:
        variables["BENCH_OPT"] = str(workshop.layer(setup))
    return variables | {name: value.format(sink=sink, handler=handler) for name, value in setup.environment.items()}


def command(
    workshop: Workshop, setup: Setup, variables: dict[str, str], under: list[str], *, stage: bool = False
) -> list[str]:
    """The whole command line: mounts, exact environment, the setup's wrapper, then `under` (valgrind) and the runtime.

    `stage`: count the wrapper instead: `under` stands before it, and it starts `true` in the place of the runtime.
    """
    mounted = can_mount()
    wrapper = [setup.wrapper] if setup.wrapper else []
    if wrapper and not mounted:
        wrapper = [wrapper[0].replace("/opt", str(workshop.layer(setup)), 1)]
    start = [str(workshop.interpreter), f"{variables['LAMBDA_RUNTIME_DIR']}/bootstrap.py"]
    line = [*under, *wrapper, "/bin/true"] if stage else [*wrapper, *under, *start]
    line = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *line]
    if not mounted:
        return ["env", f"--chdir={workshop.task(setup)}", *line]
    folders = [str(workshop.layer(setup)), str(workshop.task(setup)), str(workshop.runtime)]
    return [*unshare(), "bash", "-c", MOUNTS, "bash", *folders, *line]


def shown(line: list[str]) -> str:
    """A command line as one would type it."""
    return shlex.join(line)
