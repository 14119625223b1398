"""`python -m services.metadata`: the settings are KAFSCALE_* variables or flags; `--help` lists them."""

import os
import sys

from libs.chassis.process import run
from services.metadata.config import MetadataSettings
from services.metadata.main import open_process

if __name__ == "__main__":
    sys.exit(run(MetadataSettings, open_process, os.environ))
