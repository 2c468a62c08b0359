"""Stands in for the managed runtime's start script: same search path, same .pth files, then awslambdaric's loop.

Source: "Search path for Python runtimes" and "Python runtime dependencies" of the Lambda documentation; awslambdaric is
imported before the path changes. With BENCH_OPT the layer lies there instead of at /opt (no mount namespace here).
"""

import os
import site
import sys

version = f"{sys.version_info[0]}.{sys.version_info[1]}"
task = os.environ["LAMBDA_TASK_ROOT"]
opt = os.environ.get("BENCH_OPT", "/opt")
layers = [f"{opt}/python/lib/python{version}/site-packages", f"{opt}/python"]
if "BENCH_PROBE" in os.environ:  # never set while instructions, time or memory are measured
    del os.environ["BENCH_PROBE"]
    import probe

    probe.install()
import awslambdaric.__main__ as runtime  # noqa: E402

if "PYTHONPATH" not in os.environ:
    sys.path[0:0] = layers
sys.path.insert(0, task)
site.addsitedir(task)
if "PYTHONPATH" not in os.environ:
    for folder in layers:
        site.addsitedir(folder)
    os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]
runtime.main([task, os.environ["_HANDLER"]])
