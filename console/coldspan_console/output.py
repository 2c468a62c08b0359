"""How the console speaks: results to stdout, as a picture or as JSON; progress and failures to stderr."""

import contextlib
import json
import sys
from typing import IO, TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Exit codes; the help of `coldspan` has them in words.
DONE, ANSWER_IS_NO, WRONG_USE, BAD_INPUT, MISSING, INTERRUPTED = 0, 1, 2, 3, 4, 130
PIPED_WIDTH = 150  # nobody's window is known then, and a line cut at 80 says half


class ConsoleError(click.ClickException):
    """A failure as a person needs it: what, where, what to do.

    >>> raise ConsoleError("no function called OrderFunction", where="template.yaml", todo="choose one of: ...")

    `exit_code` is BAD_INPUT unless another is given. With --json it is an object with the members error, where, todo.
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "", exit_code: int = BAD_INPUT) -> None:
        super().__init__(what)
        self.where = where
        self.todo = todo
        self.exit_code = exit_code

    def show(self, file: "IO[Any] | None" = None) -> None:
        """Write it to stderr."""
        context = click.get_current_context(silent=True)
        if as_json_wanted(context):
            told = {"error": self.message, "where": self.where, "todo": self.todo}
            click.echo(json.dumps({name: text for name, text in told.items() if text}), file=file, err=file is None)
            return
        click.secho(f"error: {self.message}", fg="red", file=file, err=file is None)
        for name, text in (("where", self.where), ("to do", self.todo)):
            if text:
                click.echo(f"{name}: {text}", file=file, err=file is None)


class Output:
    """What a command says. `as_json`: its result is one JSON document, and nothing else goes to stdout."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    def result(self, value: Any, picture: "Callable[[Console], None]") -> None:
        """Give the result: the value as JSON, or what `picture` prints on the console it is given."""
        if self.as_json:
            click.echo(json.dumps(value, ensure_ascii=False, default=str))
            sys.stdout.flush()
        else:
            picture(self.out)

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr."""
        self.err.print(text, style="dim", markup=False)

    @contextlib.contextmanager
    def progress(self, title: str, total: "int | None" = None) -> "Iterator[Callable[[int], None]]":
        """Show progress while the block runs, where somebody looks; the block is given what advances it by so many."""
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        if total is not None:
            columns += [BarColumn(), MofNCompleteColumn()]
        with Progress(*columns, TimeElapsedColumn(), console=self.err, transient=True) as shown:
            task = shown.add_task(title, total=total)
            yield lambda count: shown.advance(task, count)


def json_option(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """The option --json; the command gets an Output as `output`."""

    def made(_: click.Context, __: click.Parameter, value: bool) -> Output:
        return Output(as_json=value)

    return click.option(
        "--json", "output", is_flag=True, callback=made, help="Give the result as one JSON document.",
    )(function)  # fmt: skip


def as_json_wanted(context: "click.Context | None") -> bool:
    """Whether the command that runs, or was to run, has --json."""
    output = (context.params if context is not None else {}).get("output")
    return output.as_json if isinstance(output, Output) else "--json" in sys.argv


def _console(stream: "IO[str]") -> Console:
    seen = stream.isatty()
    return Console(file=stream, highlight=False, width=None if seen else PIPED_WIDTH)
