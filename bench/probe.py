"""What a function's process answers when the harness asks by signal; loaded only in runs where nothing is measured.

BENCH_PROBE_FILE names the file to answer in. SIGUSR2 writes the names of the loaded modules; SIGUSR1 starts a profile,
and the next SIGUSR1 ends it and writes it.
"""

import _signal
import os
import sys


def install() -> None:
    """Answer from now on."""
    path = os.environ.pop("BENCH_PROBE_FILE")
    profiles = []

    def modules(*_: object) -> None:
        with open(path + ".part", "w") as file:  # noqa: PTH123  pathlib would be one module more
            file.write("\n".join(name for name in sorted(sys.modules) if name != "probe"))
        os.rename(path + ".part", path)  # noqa: PTH104

    def profile(*_: object) -> None:
        if profiles:
            profiles[0].disable()
            profiles.pop().dump_stats(path)
            return
        import cProfile

        profiles.append(cProfile.Profile())
        profiles[0].enable()

    _signal.signal(_signal.SIGUSR2, modules)
    _signal.signal(_signal.SIGUSR1, profile)
