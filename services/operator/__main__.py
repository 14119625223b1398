"""`python -m services.operator`: the settings are KAFSCALE_* variables or flags; `--help` lists them."""

import os
import sys

from libs.chassis.process import run
from services.operator.config import OperatorSettings
from services.operator.main import open_process

if __name__ == "__main__":
    sys.exit(run(OperatorSettings, open_process, os.environ))
