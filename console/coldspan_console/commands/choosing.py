"""What the commands that run functions have in common: which function is meant, with which variables, in which AWS."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.output import BAD_INPUT, ConsoleError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from coldspan_console.output import Output
    from coldspan_console.project import Declared, Project

AWS_HELP = (
    "moto (its server, with the template's resources), account (this shell's), a URL, or none. [$AWS_ENDPOINT_URL]"
)


def variable_options(command: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add -P (`parameters`), --env (`environment`) and --env-vars: see parameters and variables()."""
    for option in (
        click.option("--env-vars", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="Variables, as sam has them."),
        click.option("--env", "environment", multiple=True, callback=_pairs, help="NAME=VALUE for the function."),
        click.option("-P", "--parameter", "parameters", multiple=True, callback=_pairs,
                     help="NAME=VALUE of the template."),
    ):  # fmt: skip
        command = option(command)
    return command


def chosen(name: "str | None", options: "dict[str, Any]") -> "tuple[Project | None, Declared]":
    """The function that a word means: of the template, a folder's or a handler. Errors: ConsoleError.

    Takes of the options: `template`, `parameters`, `region` and `handler`.
    """
    from coldspan_console.project import Project
    from coldspan_console.project.template import find
    from coldspan_console.running.prepared import folder_of

    if find(options["template"]) is not None:
        project = Project.load(options["template"], parameters=options["parameters"], region=options["region"])
        known = {word for each in project.functions.values() for word in (each.logical_id, each.name)}
        if name in known or name is None or place_of(name) is None:
            if name is None and not options["template"] and sys.stdin.isatty() and len(project.runnable) > 1:
                names = [each.logical_id for each in project.runnable]
                name = click.prompt("which function?", type=click.Choice(names), err=True)
            return project, project.function(name)
    elif options["template"] is not None:
        raise ConsoleError("no template", where=str(options["template"]), exit_code=BAD_INPUT)
    if name is None:
        alone = folder_of(".", options["handler"]) if any(Path.cwd().glob("*.py")) else None
        if alone is None:
            Project.load(None)  # which says what is missing
        return None, alone  # type: ignore[return-value]
    found = folder_of(name, options["handler"])
    if found is None:
        todo = "name a folder with a handler, a handler such as app.handler, or make a template.yaml"
        raise ConsoleError(f"no function, folder or handler {name}", where=str(Path.cwd()), todo=todo)
    return None, found


def place_of(name: str) -> "Path | None":
    """The folder or file that a word names, where it is one."""
    place = Path(name)
    if place.is_dir():
        return place
    module, dot, _ = name.rpartition(".")
    file = Path(module.replace(".", "/") + ".py")
    return file if dot and file.is_file() else None


def variables(options: "dict[str, Any]", declared: "Declared") -> "dict[str, str]":
    """What --env-vars has for a function, and --env over it."""
    found = _of_file(options["env_vars"], declared) if options["env_vars"] is not None else {}
    return {**found, **options["environment"]}


def aws_of(
    options: "dict[str, Any]", project: "Project | None", output: "Output", stack: "contextlib.ExitStack"
) -> "dict[str, Any]":
    """The AWS that functions are to use, as members of Wishes; what has to be started ends with the stack.

    Takes of the options: `aws` and `region`, which for this shell's account is the shell's unless it is named. Errors:
    ConsoleError.
    """
    from coldspan_console.running import aws

    word = options["aws"] or os.environ.get("AWS_ENDPOINT_URL")
    if word == aws.ACCOUNT:
        from coldspan_console.account.session import Account

        account = Account(options["region"] if _is_given("region") else None)
        return {"credentials": aws.credentials(), "account": account, "region": account.region}
    endpoint = stack.enter_context(aws.endpoint(word, project, options["region"], output))
    return {"aws_endpoint": endpoint, "region": options["region"]}


def _is_given(name: str) -> bool:
    """Whether an option stands on the command line."""
    from click.core import ParameterSource

    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _pairs(_: click.Context, parameter: click.Parameter, values: "tuple[str, ...]") -> "dict[str, str]":
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=parameter)
        found[name] = text
    return found


def _of_file(file: Path, declared: "Declared") -> "dict[str, str]":
    """Sam's file: {"Parameters": {...}, "FunctionName": {...}}."""
    try:
        told = json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ConsoleError(f"is no JSON: {error.msg}", where=f"{file}:{error.lineno}:{error.colno}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConsoleError(f"cannot be read: {error}", where=str(file)) from None
    try:
        found = {**told.get("Parameters", {}), **told.get(declared.name, {}), **told.get(declared.logical_id, {})}
        return {name: str(value) for name, value in found.items()}
    except (AttributeError, TypeError):
        todo = 'it is {"FunctionName": {"NAME": "VALUE"}}, or {"Parameters": {"NAME": "VALUE"}} for all'
        raise ConsoleError("no variables as sam has them", where=str(file), todo=todo) from None
