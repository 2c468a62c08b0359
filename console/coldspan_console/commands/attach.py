"""`coldspan attach`: the layer added to functions in an account."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.output import ANSWER_IS_NO, DONE, WRONG_USE, ConsoleError, Output, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.account.layers import LayerVersion
    from coldspan_console.account.planning import Step
    from coldspan_console.account.session import Account

EPILOG = """\b
Examples:
  coldspan attach orders --publish build/coldspan-recorder.zip     publish the layer, and add it
  coldspan attach orders payments --layer ARN --dry-run            what would be done, and what is refused
  coldspan attach --pattern 'orders-*' --layer ARN --yes           all that match, without a question
  coldspan attach --tag team=shop --layer ARN --black-box ARN
  coldspan attach --template template.yaml --layer ARN             the lines that a SAM template needs"""
KINDS = ("vendor", "pythonpath", "size")


def pairs(_: click.Context, parameter: click.Parameter, values: "tuple[str, ...]") -> "dict[str, str]":
    """KEY=VALUE words, or KEY alone for any value."""
    found = {}
    for word in values:
        key, _, value = word.partition("=")
        if not key:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE", param=parameter)
        found[key] = value
    return found


def account_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Which functions, and where: for every command that looks into an account."""
    for option in (
        click.option("--profile", help="Profile of ~/.aws/config. [AWS_PROFILE]"),
        click.option("--region", help="Region. [AWS_REGION, or the profile's]"),
        click.option(
            "--tag", "tags", multiple=True, callback=pairs, metavar="KEY=VALUE", help="Functions with this tag."
        ),
        click.option("--pattern", help="Functions whose name is like this: 'orders-*'."),
        click.argument("functions", nargs=-1, metavar="[FUNCTION]..."),
    ):
        function = option(function)
    return function


@click.command(epilog=EPILOG)
@account_options
@click.option("--layer", metavar="ARN", help="The recorder's layer version.")
@click.option("--publish", type=click.Path(path_type=Path), metavar="ZIP", help="Publish this first, then add it.")
@click.option("--black-box", metavar="ARN", help="The black box's layer version, too.")
@click.option("--allow", type=click.Choice(KINDS), multiple=True, help="Attach although this speaks against it.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--template", type=click.Path(path_type=Path), help="Show what to add to a SAM template instead.")
@click.option("--write", is_flag=True, help="With --template: add it there.")
@json_option
def command(functions: "tuple[str, ...]", output: Output, **options: Any) -> int:
    """Add the layer to functions in an account, and nothing else.

    The plan comes first: what will change, what is refused and why. What was before is noted in a tag of the function,
    and `coldspan detach` gives it back. Only $LATEST can be changed: a published version gets it when the next is made.
    """
    if options["template"] is not None:
        return _template(options, output)
    if options["write"]:
        raise ConsoleError("--write is for --template", exit_code=WRONG_USE)
    from coldspan_console.account import functions as reading
    from coldspan_console.account import picture
    from coldspan_console.account.session import Account

    if not (options["layer"] or options["publish"] or options["black_box"]):
        todo = "say --publish build/coldspan-recorder.zip (`make layer` builds it), or --layer ARN"
        raise ConsoleError("which layer?", todo=todo, exit_code=WRONG_USE)
    if options["layer"] and options["publish"]:
        raise ConsoleError("either --layer or --publish", exit_code=WRONG_USE)
    account = Account(options["region"], options["profile"])
    wanted = reading.choose(account, functions, options["pattern"], options["tags"])
    layers = _layers(account, options, output)
    with output.progress("reading functions", len(wanted)) as advance:
        chosen = reading.read(account, wanted, advance)
    steps = _plan(account, chosen.functions, layers, options, output)
    _add_warnings(account, steps)
    todo = [step for step in steps if step.changes]
    if options["dry_run"] or not todo:
        output.result(_value(steps, chosen.failed, layers), lambda console: picture.plan(console, steps, chosen.failed))
        return _code(steps, chosen.failed)
    if not options["yes"]:
        confirm(steps, chosen.failed, output)
    _apply(account, steps, options, output)
    output.result(_value(steps, chosen.failed, layers), lambda console: picture.plan(console, steps, chosen.failed))
    if not output.as_json and any(step.outcome == "done" for step in steps):
        output.note("coldspan doctor FUNCTION says what else to look at; coldspan detach gives it back")
    return _code(steps, chosen.failed)


def confirm(steps: "list[Step]", failed: "list[tuple[str, ConsoleError]]", output: Output) -> None:
    """Show the plan and ask. Errors: ConsoleError where nobody can be asked, click.Abort for no."""
    from coldspan_console.account import picture

    count = sum(step.changes for step in steps)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        picture.plan(output.err, steps, failed)
        raise ConsoleError(
            f"{count} function{'s' if count > 1 else ''} would be changed, and nobody is here to be asked",
            todo="say --yes, or --dry-run to see the plan", exit_code=WRONG_USE,
        )  # fmt: skip
    picture.plan(output.err, steps, failed)
    click.confirm(f"change {count} function{'s' if count > 1 else ''}?", abort=True, err=True)


def _layers(account: "Account", options: "dict[str, Any]", output: Output) -> "dict[str, LayerVersion]":
    from coldspan_console.account import layers

    found = {}
    if options["layer"]:
        found["recorder"] = layers.get(account, options["layer"])
    if options["black_box"]:
        found["black box"] = layers.get(account, options["black_box"])
    if options["publish"]:
        if options["dry_run"] or not options["yes"]:
            found.update(_unpublished(account, options["publish"]))
        else:
            with output.progress(f"publishing {options['publish']}"):
                published = layers.publish(account, options["publish"])
            found[layers.OURS[published.name]] = published
            output.note(f"published {published.arn}")
    return found


def _unpublished(account: "Account", path: Path) -> "dict[str, LayerVersion]":
    """The layer version as it will be, for a plan that nobody has agreed to yet."""
    from coldspan_console.account import layers

    return layers.planned(account, path)


def _plan(
    account: "Account",
    functions: "list[Any]",
    layers: "dict[str, LayerVersion]",
    options: "dict[str, Any]",
    output: Output,
) -> "list[Step]":
    from coldspan_console.account import planning, sizes

    weigh = sizes.Sizes(account)
    with output.progress("making the plan", len(functions)) as advance:
        steps = []
        for function in functions:
            steps.append(planning.attach(function, layers, weigh.of, options["allow"]))
            advance(1)
    return steps


def _add_warnings(account: "Account", steps: "list[Step]") -> None:
    from coldspan_console.account import loggroups
    from coldspan_console.account.functions import versions

    for step in steps:
        if not step.changes:
            continue
        if loggroups.log_class(account, step.function.log_group) == loggroups.INFREQUENT:
            step.warnings.append(
                f"{step.function.log_group} is of class Infrequent Access: CloudWatch makes no metrics there"
            )
        count, aliases = versions(account, step.function.name)
        if count:
            told = f" ({', '.join(aliases[:4])})" if aliases else ""
            step.warnings.append(
                f"$LATEST only: {count} published version{'s' if count > 1 else ''}{told}: publish a new one"
            )


def _apply(account: "Account", steps: "list[Step]", options: "dict[str, Any]", output: Output) -> None:
    from coldspan_console.account import changing, layers

    if options["publish"] and not options["yes"]:  # agreed to by now
        with output.progress(f"publishing {options['publish']}"):
            published = layers.publish(account, options["publish"])
        output.note(f"published {published.arn}")
        layers.put_in(steps, published)
    with output.progress("changing functions", sum(step.changes for step in steps)) as advance:
        changing.apply(account, steps, advance)


def _template(options: "dict[str, Any]", output: Output) -> int:
    from coldspan_console.account import template

    layers = [arn for arn in (options["layer"], options["black_box"]) if arn]
    if not layers:
        raise ConsoleError("which layer?", todo="say --layer ARN", exit_code=WRONG_USE)
    path = options["template"]
    before, after = template.patched(path, layers)
    text = template.diff(path, before, after)
    if options["write"] and text:
        path.write_text(after, "utf-8")
    output.result(
        {"template": str(path), "diff": text, "written": bool(options["write"] and text)},
        lambda console: console.print(
            text or "it has the layer already", end="" if text else "\n", markup=False, soft_wrap=True
        ),
    )
    return DONE


def _value(
    steps: "list[Step]", failed: "list[tuple[str, ConsoleError]]", layers: "dict[str, LayerVersion]"
) -> "dict[str, Any]":
    return {
        "functions": [step.as_json() for step in steps],
        "failed": [{"function": name, "error": error.message, "todo": error.todo} for name, error in failed],
        "layers": {kind: version.arn for kind, version in layers.items()},
    }


def _code(steps: "list[Step]", failed: "list[tuple[str, ConsoleError]]") -> int:
    bad = failed or any(step.reasons or step.outcome == "failed" for step in steps)
    return ANSWER_IS_NO if bad else DONE
