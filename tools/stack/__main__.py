"""`make stack` and `make stack-restart NAME=...`: the stack on the command line."""

import argparse
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import trio

from tools.stack.layout import PORT_BASE_DEFAULT, SERVICES, STORES, StackSettings, role_of
from tools.stack.processes import StackError
from tools.stack.stack import HOST, Stack, open_stack
from tools.toolchain import tool_path

_WATCH_SECONDS = 0.5
_REQUEST_BYTES_MAX = 256


def main() -> int:
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything and stay in front")
    up.add_argument(
        "--restart", action="store_true", help="start a process that died again, as Kubernetes would"
    )
    again = commands.add_parser("restart", help="start one process of the running stack again")
    again.add_argument("name", help=f"one of {', '.join((*SERVICES, *STORES))}")
    options = parser.parse_args()
    data_dir = Path(os.environ.get("KAFSCALE_DATA_DIR", "data")).absolute()
    try:
        if options.command == "restart":
            return _ask(data_dir, options.name)
        base = int(os.environ.get("KAFSCALE_STACK_PORT_BASE", PORT_BASE_DEFAULT))
        for tool in STORES:
            tool_path(tool)
        return trio.run(partial(_front, data_dir, StackSettings(port_base=base), restart=options.restart))
    except* StackError as group:
        for error in group.exceptions:
            print(f"stack: {error}", file=sys.stderr)
    return 1


async def _front(data_dir: Path, settings: StackSettings, *, restart: bool) -> int:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_stack(data_dir, settings, tell=partial(print, flush=True)) as stack:
            _print_addresses(stack)
            async with trio.open_nursery() as nursery:
                listeners = await trio.open_tcp_listeners(0, host=HOST)
                port = listeners[0].socket.getsockname()[1]
                (data_dir / "stack.port").write_text(f"{port}\n")
                nursery.start_soon(trio.serve_listeners, partial(_answer, stack), listeners)
                nursery.start_soon(partial(_watch, stack, restart=restart))
                async for _number in signals:
                    break
                nursery.cancel_scope.cancel()
    return 0


def _print_addresses(stack: Stack) -> None:
    print()
    for child in stack.children.values():
        ports = child.ports
        kafka = f"Kafka {HOST}:{ports.kafka}  " if ports.kafka > 0 else ""
        kind = "control" if child.name in SERVICES else "client"
        print(
            f"  {child.name:<11} pid {child.pid:<8} {kafka}{kind} {HOST}:{ports.admin}  log {child.log_path}"
        )
    first = next(child for child in stack.children.values() if role_of(child.name) == "owner")
    print(
        f"\nThe stack is up; Ctrl-C stops all of it. Try next:\n"
        f"  kafka-console-producer --bootstrap-server {','.join(stack.bootstrap)} --topic orders\n"
        f"  grpcurl -plaintext {HOST}:{first.ports.admin} kafscale.control.BrokerControl/GetStatus\n"
        f"  kill -9 {first.pid}; make stack-restart NAME={first.name}",
        flush=True,
    )


async def _watch(stack: Stack, *, restart: bool) -> None:
    """Tells when a process died; starts it again where that was asked for."""
    told: set[str] = set()
    while True:
        await trio.sleep(_WATCH_SECONDS)
        for name, child in stack.children.items():
            if child.alive:
                told.discard(name)
            elif restart:
                print(f"{name} died; starting it again", flush=True)
                try:
                    await stack.restart(name)
                except StackError as error:
                    print(f"stack: {error}", file=sys.stderr, flush=True)
            elif name not in told:
                told.add(name)
                print(f"{name} is dead; `make stack-restart NAME={name}` starts it again", flush=True)


async def _answer(stack: Stack, stream: trio.SocketStream) -> None:
    """One line in, the name of a process; one line out, JSON."""
    async with stream:
        request = b""
        with trio.move_on_after(5):
            while not request.endswith(b"\n") and len(request) < _REQUEST_BYTES_MAX:
                chunk = await stream.receive_some(_REQUEST_BYTES_MAX)
                if not chunk:
                    return
                request += chunk
        try:
            await stack.restart(request.decode(errors="replace").strip())
            answer: dict[str, str] = {}
        except StackError as error:
            answer = {"error": str(error)}
        await stream.send_all(json.dumps(answer).encode() + b"\n")


def _ask(data_dir: Path, name: str) -> int:
    async def ask() -> dict[str, str]:
        try:
            port = int((data_dir / "stack.port").read_text())
            stream = await trio.open_tcp_stream(HOST, port)
        except (OSError, ValueError):
            raise StackError(f"no stack runs on {data_dir}; `make stack` starts one") from None
        async with stream:
            await stream.send_all(name.encode() + b"\n")
            answer = b"".join([chunk async for chunk in stream])
        parsed: dict[str, str] = json.loads(answer)
        return parsed

    answer = trio.run(ask)
    if "error" in answer:
        raise StackError(answer["error"])
    print(f"{name} runs again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
