"""The seam with the runtime client: where an invocation begins, how it ended, and when the drain runs.

An invocation begins when `wait_next_invocation` returns and ends after `post_invocation_result` or
`post_invocation_error`, whose originals run first, so the caller has the response before we do anything. Features are
looked for, never versions.
"""

import os
from time import CLOCK_BOOTTIME, clock_gettime_ns, process_time_ns

from coldspan.core import limits
from coldspan.core.record import Call, Invocation
from coldspan.hot.bootstrap import BEGUN, ENTERED, POSTED, RAISED, RETURNED, guard, wrap
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.boot.imports import Finder
    from coldspan.core.trigger import Described
    from coldspan.drain.blackbox import BlackBox
    from coldspan.drain.claims import Claimed
    from coldspan.drain.flush import Drain
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope
    from coldspan.hot.watcher import Watcher

    Args = tuple[Any, ...]
    Kwargs = dict[str, Any]

REFUSED = "refused"  # for an outcome while the response is being posted: its size will tell which it is
STDOUT, STDERR = 1, 2
START_BY_INIT_TYPE = {"provisioned-concurrency": "provisioned", "snap-start": "restored"}


class Seam:
    """The life of the environment: init, then one invocation after the other (one at a time in each thread)."""

    __slots__ = (
        "absent", "blackbox", "boot_ns", "buffer", "closely", "dead", "describe_event", "drain", "drains", "finder",
        "init", "init_end_ns", "init_started_ns", "journal_tried", "live_by_id", "open_journal", "restore_ns", "scope",
        "settings", "started", "stdout", "steps", "watch", "watcher",
    )  # fmt: skip

    def __init__(self, scope: "Scope", finder: "Finder", drain: "Callable[..., None]") -> None:
        self.scope = scope
        self.buffer = scope.buffer
        self.settings = scope.settings
        self.finder = finder
        self.drain = self.buffer.shielded(drain)
        self.drains: "dict[str, Drain]" = {}  # the one that the first drain made
        self.absent = True  # until the runtime client's methods are wrapped
        self.describe_event: "Callable[[Any, Any], Described | None] | None" = None
        self.started = self.journal_tried = False
        self.closely = False  # a process before this one was lost without a trace: see drain.dead
        self.dead: "list[Claimed]" = []  # journals of killed processes, for the first drain to tell of
        self.blackbox: "BlackBox | None" = None  # where an exporter is configured
        self.live_by_id: "dict[int, Invocation]" = {}  # span id -> what has begun and not ended
        self.watch: "Callable[[Seam, Invocation], None] | None" = None  # starts the watcher, when there is none
        self.watcher: "Watcher | None" = None
        self.restore_ns = self.boot_ns = 0
        self.init = scope.outside
        self.init_started_ns = scope.clock()
        self.stdout: "tuple[int, int] | None" = None  # what descriptor 1 is: see drain.flush
        self.init_end_ns = 0  # CLOCK_BOOTTIME, the clock of a process's start time in /proc
        shielded = self.buffer.shielded
        self.open_journal = shielded(self._open_journal)
        self.steps = (shielded(self.describe), shielded(self.enter), shielded(self.succeed), shielded(self.fail))

    # -- the runtime client ------------------------------------------------------------------------------------------

    def install(self, bootstrap: "Any", patches: "Patches") -> None:
        """Wrap the methods of every client class that defines them, and the look-up of the handler."""
        from awslambdaric import lambda_runtime_client as client

        shielded = self.buffer.shielded
        before_next, begin = shielded(self.before_next), shielded(self.begin)
        escaped = shielded(self.escaped)
        posted, post_failed, init_failed = shielded(self.posted), shielded(self.post_failed), shielded(self.init_failed)

        def make_wait(original: "Any") -> "Any":
            def wait_next_invocation(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
                before_next()
                try:
                    request = original(self, *args, **kwargs)
                except BaseException as error:
                    drop_own_frame(error)
                    raise
                begin(request)
                return request

            return wait_next_invocation

        def make_post(original: "Any") -> "Any":
            is_error = original.__name__ == "post_invocation_error"

            def post(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
                try:
                    answer = original(self, *args, **kwargs)
                except BaseException as error:
                    post_failed(error)
                    posted(is_error, args, kwargs)
                    drop_own_frame(error)
                    raise
                posted(is_error, args, kwargs)
                return answer

            return post

        def make_observed(original: "Any") -> "Any":
            def handle_exception(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
                post_failed(*args[:1])
                try:
                    return original(self, *args, **kwargs)
                except BaseException as error:
                    drop_own_frame(error)
                    raise

            return handle_exception

        def make_init_error(original: "Any") -> "Any":
            def post_init_error(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
                try:
                    return original(self, *args, **kwargs)
                except BaseException as error:
                    drop_own_frame(error)
                    raise
                finally:
                    init_failed(args, kwargs)

            return post_init_error

        replace(bootstrap, "handle_event_request", lambda original: guard(original, escaped), patches)
        for owner in [value for value in vars(client).values() if isinstance(value, type)]:
            replace(owner, "wait_next_invocation", make_wait, patches)
            replace(owner, "post_invocation_result", make_post, patches)
            replace(owner, "post_invocation_error", make_post, patches)
            replace(owner, "post_init_error", make_init_error, patches)
            replace(owner, "handle_exception", make_observed, patches)
        self.absent = not any(name == "wait_next_invocation" for _, name, _ in patches)

    # -- the environment ---------------------------------------------------------------------------------------------

    def end_init(self) -> None:
        """The environment has started: what is imported or called from now on is not init."""
        if not self.init_end_ns:
            self.init_end_ns = clock_gettime_ns(CLOCK_BOOTTIME)
            self.finder.stop_timing()
            self.scope.outside = Invocation(
                "background", "", self.scope.new_id(), self.scope.clock(), self.scope.wall()
            )
            self.stdout = self.stdout_now()

    def _open_journal(self) -> None:
        """Begin a journal, claim those of killed processes. After init: a fork or a snapshot may come before."""
        self.journal_tried = True
        if self.settings.journal_bytes or self.settings.export:
            from coldspan.boot import journals

            journals.begin(self)

    def stdout_now(self) -> "tuple[int, int] | None":
        """Device and inode of what the descriptor refers to that we write to; None when it is closed."""
        try:
            status = os.fstat(STDOUT if self.settings.local == "emf" else STDERR)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def begin_again(self) -> None:
        """A new process began with a copy of us: nothing that waits here is ours to send, nor is what is running."""
        scope = self.scope
        running = self.live()
        if running is not None:
            running.closed = True  # the parent tells of it, also when this process leaves through the handler
        scope.reseed()
        self.buffer.__init__()  # type: ignore[misc]  # the same object, emptied: every shielded step counts into it
        scope.current.set(None)
        self.live_by_id.clear()
        self.drains.clear()
        self.watcher = None
        scope.outside = self.init = Invocation("init", "", scope.new_id(), scope.clock(), scope.wall())
        journal, scope.journal = scope.journal, None  # first: whatever happens, this process writes into no parent's
        dead, self.dead = self.dead, []  # the parent's to tell
        if journal is not None:
            journal.drop()
        for claimed in dead:
            claimed.close()
        self.started = self.journal_tried = False
        self.init_end_ns = 0
        self.init_started_ns = scope.clock()

    def init_failed(self, args: "Args", kwargs: "Kwargs") -> None:
        """The runtime has told the platform that init failed: one record of it, because there will be no other."""
        scope = self.scope
        error: "Any" = args[0] if args else kwargs.get("error_response_data")
        self.end_init()
        invocation = Invocation("init_error", "", scope.new_id(), self.init.start_ns, self.init.epoch_ns)
        invocation.start = self._start_kind()
        invocation.outcome = "init_error"
        invocation.error_type = error.get("errorType", "")
        if self.settings.error_text:
            invocation.error_text = error.get("errorMessage", "")[: limits.RAW_TEXT_CHARS]
        self._close(invocation)

    def _start_kind(self) -> str:
        return START_BY_INIT_TYPE.get(self.settings.init_type, "cold")

    # -- the invocation ----------------------------------------------------------------------------------------------

    def live(self) -> "Invocation | None":
        """The Invocation that the running code belongs to and that has not ended, or None."""
        node = self.scope.current.get()
        if type(node) is Call:
            node = node.owner
        # mypy narrows by type() in one branch only
        return None if node is None or node.closed or node.kind != "invocation" else node  # type: ignore[return-value, union-attr]  # see above

    def before_next(self) -> None:
        """The runtime is about to ask for an event: what has not been drained is, and the position is cleared."""
        if not self.init_end_ns:
            self.end_init()
        journal = self.scope.journal
        if not self.journal_tried or (journal is not None and journal.lost):
            self.open_journal()
        invocation = self.live()
        if invocation is not None:
            self._close(invocation)
        self.scope.current.set(None)

    def begin(self, request: "Any") -> None:
        """An event has come."""
        scope = self.scope
        entered = scope.clock()
        invocation = Invocation("invocation", request.invoke_id or "", scope.new_id(), entered, scope.wall())
        invocation.trace_text = request.x_amzn_trace_id or ""
        invocation.function_arn = request.invoked_function_arn or ""
        invocation.deadline_ms = int(request.deadline_time_in_ms or 0)
        invocation.tenant_id = getattr(request, "tenant_id", None) or ""
        self.enter_environment(invocation, entered)

    def enter_environment(self, invocation: "Invocation", entered: int) -> None:
        """The invocation is the running one."""
        if not self.started:
            self.started = True
            invocation.start = self._start_kind()
        scope = self.scope
        scope.current.set(invocation)
        if scope.journal is not None:
            scope.journal.begin(invocation)
        self.live_by_id[invocation.span_id] = invocation
        if self.watch is not None:
            self.watch(self, invocation)
        invocation.cpu_ns = -process_time_ns()
        invocation.overhead_ns = scope.clock() - entered

    def describe(self, wrapper: "Any", handler: "Any") -> None:
        """Give the wrapper the handler's name and attributes."""
        from functools import update_wrapper

        update_wrapper(wrapper, handler)

    def enter(self, args: "Args", kwargs: "Kwargs") -> "Invocation | None":
        """The handler is about to run. None when it already does: another wrapper of ours was outside."""
        invocation = self.live()
        clock = self.scope.clock
        entered = clock()
        if invocation is None:
            if not self.absent:
                return None
            from coldspan.boot.unwatched import begin_unwatched

            invocation = begin_unwatched(self, args, kwargs, entered)
        elif invocation.state != BEGUN:
            return None
        invocation.state = ENTERED
        describe_event = self.describe_event
        if describe_event is None:
            from coldspan.core.trigger import describe

            self.describe_event = describe_event = self.buffer.shielded(describe)
        event = args[0] if args else kwargs.get("event")
        invocation.trigger = described = describe_event(event, args[1] if len(args) > 1 else kwargs.get("context"))
        if described is not None:
            if described[3] is not None:
                invocation.replay = described[3].get("replay", False)
            if self.scope.journal is not None:
                self.scope.journal.describe(invocation, described[0])
        if self.blackbox is not None:
            from coldspan.core.links import links_of

            invocation.links = links_of(event)
        now = clock()
        invocation.handler_ns = -now
        invocation.overhead_ns += now - entered
        return invocation

    def succeed(self, invocation: "Invocation", result: "Any") -> None:
        """The handler has returned; whether its result can be sent is not known yet."""
        entered = self.scope.clock()
        invocation.handler_ns += entered
        invocation.state = RETURNED
        if type(result) is dict and ("batchItemFailures" in result or invocation.trigger is not None):
            from coldspan.core.answers import read_answer

            read_answer(invocation, result)
        invocation.overhead_ns += self.scope.clock() - entered
        if invocation.flush == "before_response":
            self._close(invocation)

    def fail(self, invocation: "Invocation", error: "BaseException") -> None:
        """The handler has raised. What is no Exception ends the process without a post: the last chance to drain."""
        if invocation.closed:
            return
        entered = self.scope.clock()
        invocation.handler_ns += entered
        invocation.state = RAISED
        invocation.outcome = "error"
        invocation.error_type = type(error).__name__
        if self.settings.error_text:
            invocation.error_text = str(error)[: limits.RAW_TEXT_CHARS]
        invocation.overhead_ns += self.scope.clock() - entered
        if invocation.flush == "before_response" or not isinstance(error, Exception):
            invocation.flush = "before_response"
            self._close(invocation)

    def post_failed(self, error: "BaseException") -> None:
        """The response did not arrive. An error that did not stays the handler's error: that is what to look for."""
        invocation = self.live()
        if invocation is None or invocation.state != RETURNED:
            return
        invocation.outcome = REFUSED
        invocation.error_type = type(error).__name__
        if self.settings.error_text:
            invocation.error_text = str(error)[: limits.RAW_TEXT_CHARS]

    def posted(self, is_error: bool, args: "Args", kwargs: "Kwargs") -> None:
        """The runtime has posted the result or the error: decide the outcome, then drain."""
        invocation = self.live()
        if invocation is None or (args and args[0] != invocation.request_id):
            return
        invocation.posted_ns = self.scope.clock()
        body = args[1] if len(args) > 1 else kwargs.get("error_response_data" if is_error else "result_data")
        if body is not None:
            plain = isinstance(body, bytes) or body.isascii()
            invocation.response_bytes = len(body if plain else body.encode("utf-8", "surrogatepass"))
        if invocation.outcome == REFUSED:
            invocation.outcome = "error"
            # the client's exception does not carry the platform's 413
            if (invocation.response_bytes or 0) > limits.RESPONSE_BYTES:
                invocation.outcome = "too_large"
                invocation.error_type = "Function.ResponseSizeTooLarge"
        elif is_error and invocation.state != RAISED and not invocation.error_type:
            from coldspan.core.answers import read_error

            invocation.outcome = "unserialisable" if invocation.state == RETURNED else "error"
            read_error(invocation, body, self.settings.error_text)
        elif not invocation.outcome:
            invocation.outcome = "ok"
        invocation.state = POSTED
        self._close(invocation)

    def escaped(self, error: "BaseException") -> None:
        """The runtime client itself has failed, for a text that cannot be had or encoded: it ends without a post."""
        invocation = self.live()
        if invocation is not None:
            invocation.outcome = "error"
            invocation.error_type = invocation.error_type or type(error).__name__
            invocation.flush = "before_response"
            self._close(invocation)

    def _close(self, invocation: "Invocation") -> None:
        invocation.end_ns = self.scope.clock()
        if invocation.cpu_ns < 0:
            invocation.cpu_ns += process_time_ns()
        if not invocation.outcome:
            invocation.outcome = "ok"
        invocation.closed = True
        if invocation.serial and self.scope.journal is not None:
            self.scope.journal.end(invocation)
        self.live_by_id.pop(invocation.span_id, None)
        watcher = self.watcher
        if watcher is not None and watcher.holds_for == invocation.span_id:
            watcher.ended()
        self.scope.current.set(None)
        self.buffer.add_invocation(invocation)
        self.drain(self, invocation)

    # -- the handler -------------------------------------------------------------------------------------------------

    def wrap_handler(self, handler: "Any", drive: "Callable[[Any], Any] | None" = None) -> "Any":
        """The handler in our wrapper; itself when it is wrapped already or cannot be called."""
        return wrap(handler, *self.steps, drive)
