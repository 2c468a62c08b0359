"""`coldspan status`: which functions in an account have the layer."""

from typing import TYPE_CHECKING, Any

import click

from coldspan_console.commands.attach import account_options
from coldspan_console.output import ANSWER_IS_NO, DONE, Output, json_option

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = """\b
Examples:
  coldspan status                        every Python function of the account and region
  coldspan status orders payments
  coldspan status --pattern 'orders-*' --region eu-west-1 --json"""


@click.command(epilog=EPILOG)
@account_options
@click.option("--all", "everything", is_flag=True, help="Functions of other runtimes, too.")
@json_option
def command(functions: "tuple[str, ...]", output: Output, everything: bool, **options: Any) -> int:
    """Show which functions have which version of the layers, what is newer, and what others have changed since."""
    from coldspan_console.account import functions as reading
    from coldspan_console.account import picture, status
    from coldspan_console.account.session import Account

    account = Account(options["region"], options["profile"])
    wanted = reading.choose(account, functions, options["pattern"], options["tags"], everything=True)
    with output.progress("reading functions", len(wanted)) as advance:
        chosen = reading.read(account, wanted, advance)
    there = [each for each in chosen.functions if everything or functions or each.runtime.startswith("python")]
    rows = status.rows(account, there)

    def shown(console: "Console") -> None:
        if rows or chosen.failed:
            picture.status(console, rows, chosen.failed)
        else:
            console.print(f"no Python function in {account.region}")

    failed = [{"function": name, "error": error.message, "todo": error.todo} for name, error in chosen.failed]
    output.result({"region": account.region, "functions": rows, "failed": failed}, shown)
    return ANSWER_IS_NO if failed else DONE
