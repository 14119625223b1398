"""`python -m services.standalone`: the settings are KAFSCALE_* variables or flags; `--help` lists them."""

import os
import sys

from libs.chassis.process import run
from services.standalone.config import StandaloneSettings
from services.standalone.main import open_process

if __name__ == "__main__":
    sys.exit(run(StandaloneSettings, open_process, os.environ))
