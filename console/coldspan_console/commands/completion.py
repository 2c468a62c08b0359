"""`coldspan completion`: what a shell needs to complete the command's words."""

import click
from click.shell_completion import get_completion_class

from coldspan_console.output import MISSING, ConsoleError

SHELLS = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/completions/coldspan.fish"}
EPILOG = """\b
Examples:
  coldspan completion bash >> ~/.bashrc
  coldspan completion fish > ~/.config/fish/completions/coldspan.fish"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(sorted(SHELLS)))
def command(shell: str) -> None:
    """Print the lines that make SHELL complete coldspan's commands and options."""
    from coldspan_console.cli import command as root

    completion = get_completion_class(shell)
    if completion is None:
        raise ConsoleError(f"no completion for {shell} in this version of click", exit_code=MISSING)
    try:
        click.echo(completion(root, {}, "coldspan", "_COLDSPAN_COMPLETE").source())
    except RuntimeError as error:  # bash before 4.4
        raise ConsoleError(str(error), where=shell, todo="use a newer one", exit_code=MISSING) from None
