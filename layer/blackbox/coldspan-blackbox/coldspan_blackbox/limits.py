"""What the exporters' process may take. It confines itself, before it imports anything heavy."""

import posix

from coldspan_blackbox.settings import Settings

MOST_LIKELY_KILLED = b"1000"  # of oom_score_adj: rather the exporters than the function


def confine() -> None:
    """Limit the memory of this process, and offer it to the kernel first when memory runs out."""
    memory_bytes = Settings(posix.environ).export_memory_mb << 20
    try:
        descriptor = posix.open("/proc/self/oom_score_adj", posix.O_WRONLY)
        posix.write(descriptor, MOST_LIKELY_KILLED)
        posix.close(descriptor)
    except OSError:
        pass  # a system without it
    try:
        import resource
    except ImportError:
        return
    # The address space holds every library that is mapped and eight stacks of 8 MB that are never touched: it is given
    # room for them. What is written to is bounded by RLIMIT_DATA, which since Linux 4.7 counts private mappings.
    for limit, most in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_AS, memory_bytes + (512 << 20))):
        try:
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (most if hard < 0 else min(most, hard), hard))
        except (OSError, ValueError):
            pass
