"""What attach and detach have planned, done: one function after the other, each of them wholly or not at all."""

import concurrent.futures
from typing import TYPE_CHECKING, Any

from coldspan_console.account import notes
from coldspan_console.account.functions import AT_ONCE
from coldspan_console.account.planning import FORGET, REMOVE
from coldspan_console.account.session import told
from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.account.planning import Step
    from coldspan_console.account.session import Account

# What the plan was made from: where one of these is another by now, the plan is not for this function any more.
PLANNED_FROM = ("CodeSha256", "Runtime", "Handler", "Architectures", "Environment")
TRIES = 2  # when an update of somebody else is in progress: wait for it, once


def apply(account: "Account", steps: "list[Step]", advance: "Callable[[int], object]" = lambda _: None) -> None:
    """Do them, several at once. Each step's `outcome` is `done` or `failed`, and then `error` says why."""

    def one(step: "Step") -> None:
        try:
            _do(account, step)
        except ConsoleError as error:
            step.outcome, step.error = "failed", error.message + (f": {error.todo}" if error.todo else "")
        else:
            step.outcome = "done"
        advance(1)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, [step for step in steps if step.changes]))


def _do(account: "Account", step: "Step") -> None:
    function, client = step.function, account.functions
    known = notes.read(function.tags, function.arn)
    if step.action == FORGET:
        _forget(account, step)
        return
    if step.action != REMOVE:  # noted first: a layer that nobody remembers cannot be given back
        tags = notes.write(step.notes)
        with told(function.name):
            client.tag_resource(Resource=function.arn, Tags=tags)
    try:
        _update(account, step)
    except ConsoleError:
        if step.action != REMOVE:
            _note_again(account, step, known)
        raise
    if step.action == REMOVE:
        _forget(account, step)


def _update(account: "Account", step: "Step") -> None:
    name, client = step.function.name, account.functions
    for left in reversed(range(TRIES)):
        _wait(account, name)
        with told(name):
            fresh = client.get_function_configuration(FunctionName=name)
            _compare(step, fresh)
            try:
                # with it the service refuses what would overwrite somebody's change; a stand-in may have none
                revision = {"RevisionId": fresh["RevisionId"]} if "RevisionId" in fresh else {}
                client.update_function_configuration(FunctionName=name, Layers=step.after, **revision)
            except client.exceptions.ResourceConflictException:
                if not left:
                    raise
            else:
                break
    _wait(account, name)


def _compare(step: "Step", fresh: "dict[str, Any]") -> None:
    layers = [each["Arn"] for each in fresh.get("Layers") or ()]
    changed = [name for name in PLANNED_FROM if fresh.get(name) != step.function.config.get(name)]
    if layers != step.before:
        changed.insert(0, "Layers")
    if changed:
        text = f"somebody else has changed it since the plan was made ({', '.join(changed)}); nothing was changed here"
        raise ConsoleError(text, where=step.function.name, todo="run it again")


def _wait(account: "Account", name: str) -> None:
    """Until no update of the function is in progress. Errors: ConsoleError when one failed."""
    from botocore.exceptions import WaiterError

    with told(name):
        try:
            account.functions.get_waiter("function_updated_v2").wait(
                FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
            )
        except WaiterError as error:
            last = error.last_response if isinstance(error.last_response, dict) else {}
            if "Error" in last:
                text = f"{last['Error'].get('Code', '')}: {last['Error'].get('Message', '')}"
                raise ConsoleError(text, where=name) from None
            config = last.get("Configuration") or last
            text = (
                config.get("LastUpdateStatusReason") or f"{config.get('LastUpdateStatus', 'no answer')} after 2 minutes"
            )
            raise ConsoleError(
                f"its last update: {text}", where=name, todo="look at the function, then run it again"
            ) from None


def _note_again(account: "Account", step: "Step", known: "list[notes.Note]") -> None:
    """Put the notes back as they were. A note too many does no harm: detach sees that its layer is not there."""
    keep = notes.write(known)
    gone = [key for key in notes.write(step.notes) if key not in keep]
    try:
        with told():
            if keep:
                account.functions.tag_resource(Resource=step.function.arn, Tags=keep)
            if gone:
                account.functions.untag_resource(Resource=step.function.arn, TagKeys=gone)
    except ConsoleError:
        step.warnings.append("its note could not be taken back; `coldspan detach` does it")


def _forget(account: "Account", step: "Step") -> None:
    keys = [key for key in notes.TAGS.values() if key in step.function.tags]
    if keys:
        with told(step.function.name):
            account.functions.untag_resource(Resource=step.function.arn, TagKeys=keys)
