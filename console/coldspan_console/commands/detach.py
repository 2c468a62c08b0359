"""`coldspan detach`: functions given back what attach changed."""

from typing import TYPE_CHECKING, Any

import click

from coldspan_console.commands.attach import account_options, confirm
from coldspan_console.output import ANSWER_IS_NO, DONE, Output, json_option

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = """\b
Examples:
  coldspan detach orders
  coldspan detach --pattern 'orders-*' --dry-run    what would be done
  coldspan detach --tag team=shop --yes             without a question
  coldspan detach orders --force                    also a layer of coldspan that a template brought"""


@click.command(epilog=EPILOG)
@account_options
@click.option("--force", is_flag=True, help="Take layers of coldspan away that attach has not added, too.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(functions: "tuple[str, ...]", output: Output, **options: Any) -> int:
    """Give functions back what attach changed.

    The layer list is the former one again, in its order; where others have changed it since, only ours are taken away.
    """
    from coldspan_console.account import changing, picture, planning
    from coldspan_console.account import functions as reading
    from coldspan_console.account.session import Account

    account = Account(options["region"], options["profile"])
    wanted = reading.choose(account, functions, options["pattern"], options["tags"])
    with output.progress("reading functions", len(wanted)) as advance:
        chosen = reading.read(account, wanted, advance)
    steps = [planning.detach(function, force=options["force"]) for function in chosen.functions]
    todo = [step for step in steps if step.changes]
    if todo and not options["dry_run"]:
        if not options["yes"]:
            confirm(steps, chosen.failed, output)
        with output.progress("changing functions", len(todo)) as advance:
            changing.apply(account, steps, advance)

    def shown(console: "Console") -> None:
        picture.plan(console, steps, chosen.failed)

    failed = [{"function": name, "error": error.message, "todo": error.todo} for name, error in chosen.failed]
    output.result({"functions": [step.as_json() for step in steps], "failed": failed}, shown)
    bad = failed or any(step.reasons or step.outcome == "failed" for step in steps)
    return ANSWER_IS_NO if bad else DONE
