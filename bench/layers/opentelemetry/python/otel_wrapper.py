"""The handler that the community layer's script redirects to: the customer's own, wrapped already."""

import os
from importlib import import_module

module, name = os.environ["ORIG_HANDLER"].rsplit(".", 1)
lambda_handler = getattr(import_module(module.replace("/", ".")), name)
