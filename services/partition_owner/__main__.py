"""`python -m services.partition_owner`: settings are KAFSCALE_* variables or flags; `--help` lists them."""

import os
import sys

from libs.chassis.process import run
from services.partition_owner.config import OwnerSettings
from services.partition_owner.main import open_process

if __name__ == "__main__":
    sys.exit(run(OwnerSettings, open_process, os.environ))
