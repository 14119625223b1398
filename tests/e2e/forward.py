"""`python -m tests.e2e.forward PORT HOST:PORT`: a local port that is a pod's, until it is ended."""

import sys

import trio

from tests.e2e.node.services import Address, Proxy


def main() -> None:
    port, target = sys.argv[1:]
    host, _, to_port = target.rpartition(":")
    proxy = Proxy()
    address = Address("127.0.0.1", int(port))
    proxy.fix(address, [(host, int(to_port))])
    trio.run(proxy.serve, address)


if __name__ == "__main__":
    main()
