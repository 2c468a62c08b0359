"""Stand-in for the managed runtime's /var/runtime/bootstrap.py: the same search path, the same handling of .pth files.

The runtime client is imported before the search path changes, so a function cannot shadow it; then the layer's two
folders and the task root go to the front; then the .pth files in them are run; PYTHONPATH, when the function has set
it, turns all of it off but the task root. COLDSPAN_LOCAL_OPT names the layer's folder where it is not at /opt.
"""
# ruff: noqa: INP001 - a script in a folder that becomes /var/runtime

import os
import site
import sys

import awslambdaric.__main__ as runtime

task = os.environ["LAMBDA_TASK_ROOT"]
opt = os.environ.pop("COLDSPAN_LOCAL_OPT", "/opt")
layers = [f"{opt}/python/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages", f"{opt}/python"]
untouched = "PYTHONPATH" not in os.environ

if untouched:
    sys.path[0:0] = layers
sys.path.insert(0, task)
if untouched:
    for folder in (task, *layers):
        site.addsitedir(folder)
os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]
runtime.main([task, os.environ["_HANDLER"]])
