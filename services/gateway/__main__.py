"""`python -m services.gateway`: the settings are KAFSCALE_* variables or flags; `--help` lists them."""

import os
import sys

from libs.chassis.process import run
from services.gateway.config import GatewaySettings
from services.gateway.main import open_process

if __name__ == "__main__":
    sys.exit(run(GatewaySettings, open_process, os.environ))
