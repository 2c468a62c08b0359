"""The `coldspan` command: its sub-commands, each loaded when it is called."""

import importlib
import importlib.util
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

from coldspan_console import VERSION
from coldspan_console.output import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Sequence

# name -> one line of help. The module coldspan_console.commands.NAME has the command as `command`: a help text is to be
# had without loading what another command needs.
COMMANDS = {
    "run": "Run a function locally, and show where its time went",
    "local": "Serve a template's functions by the Lambda API, on this machine",
    "list": "List invocations in the local store, by filters",
    "show": "Show one invocation as a tree",
    "filter": "Save filters by name, and be told when something new is so",
    "store": "See what the local store holds, and keep it small",
    "report": "Make the store a page, or serve it live",
    "blame": "Show what a cold start's imports cost, and fail over a budget",
    "doctor": "Find out why a function does not record, and what would go wrong",
    "attach": "Add the layer to functions in an account, and nothing else",
    "detach": "Give functions back what attach changed",
    "status": "Show which functions in an account have the layer",
    "pull": "Bring records from CloudWatch, X-Ray or a log stream into the local store",
    "completion": "Print what bash, zsh or fish needs to complete the commands",
}
EPILOG = """\b
Examples:
  coldspan run                                   the template's only function, with an empty event
  coldspan run OrdersFunction -e order.json      one function with one event
  coldspan report                                all that was run, as a page
  coldspan list --outcome timeout --since 1h     what was killed in the last hour

\b
Exit codes: 0 done; 1 the answer is no (a function failed, a budget is exceeded, the doctor found something);
2 wrong use; 3 bad input (template, event, store); 4 something is missing here (interpreter, network, permission);
130 interrupted."""


class Commands(click.Group):
    """The sub-commands, in the order of COMMANDS."""

    def list_commands(self, _: click.Context) -> "list[str]":
        """Their names."""
        return [name for name in COMMANDS if importlib.util.find_spec(f"coldspan_console.commands.{name}")]

    def get_command(self, _: click.Context, name: str) -> "click.Command | None":
        """The one of that name, loaded now."""
        if name not in COMMANDS:
            return None
        try:
            return importlib.import_module(f"coldspan_console.commands.{name}").command
        except ModuleNotFoundError as error:
            if error.name == f"coldspan_console.commands.{name}":
                return None
            raise

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list, from COMMANDS alone."""
        if rows := [(name, COMMANDS[name]) for name in self.list_commands(context)]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Commands, context_settings=SETTINGS, epilog=EPILOG)
@click.version_option(VERSION, message="%(prog)s %(version)s")
def command() -> None:
    """Where a Lambda invocation's time went, and how each downstream call really ended: on your machine."""


def _terminated(number: int, _: object) -> None:
    """End as by Ctrl-C: environments and folders are cleared away first."""
    raise SystemExit(128 + number)


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run it; give the exit code. A failure is told as what, where and what to do."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        code = command.main(args=arguments, prog_name="coldspan", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:  # a ConsoleError is one
        error.show()
        return error.exit_code
    except BrokenPipeError:  # `coldspan list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
