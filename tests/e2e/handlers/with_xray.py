"""A function that patches its libraries with the AWS X-Ray SDK."""

from aws_xray_sdk.core import patch_all, xray_recorder
from order import instrumented

patch_all()

import work

handler = instrumented(work.work, xray_recorder.capture("work"))
