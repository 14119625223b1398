"""`python -m tests.e2e.node --access FILE --settings FILE`: the node agent as a process."""

import argparse
import sys
from pathlib import Path

import trio

from tests.e2e.api import Access
from tests.e2e.node.agent import Agent, Settings


async def _run(access: Access, settings: Settings) -> None:
    async with access.async_client() as client:
        await Agent(client, settings).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="node", description=__doc__)
    parser.add_argument(
        "--access", type=Path, required=True, help="the API server, as api.Access.save wrote it"
    )
    parser.add_argument("--settings", type=Path, required=True, help="agent.Settings as JSON")
    options = parser.parse_args()
    trio.run(_run, Access.load(options.access), Settings.load(options.settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
