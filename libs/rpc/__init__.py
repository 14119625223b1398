"""gRPC on Trio: grpclib's generated stubs and messages over h2, or over memory.

Owns: channels, servers, deadlines, cancellation, back-pressure, the rim between kinds of error and
statuses.
Does not own: the services' messages (`proto`), typed clients (`libs/clients`).
"""

from grpclib._typing import IServable

from libs.rpc.channel import Channel, open_channel
from libs.rpc.dial import Connector
from libs.rpc.health import Health
from libs.rpc.limits import DEFAULT_LIMITS, RpcLimits
from libs.rpc.memory import memory_channel
from libs.rpc.probe import is_refused
from libs.rpc.reflection import with_reflection
from libs.rpc.server import Server, open_tcp_listeners
from libs.rpc.statistics import ChannelStatistics, ServerStatistics
from libs.rpc.tls import ClientTls, ServerTls

__all__ = [
    "DEFAULT_LIMITS",
    "Channel",
    "ChannelStatistics",
    "ClientTls",
    "Connector",
    "Health",
    "IServable",
    "RpcLimits",
    "Server",
    "ServerStatistics",
    "ServerTls",
    "is_refused",
    "memory_channel",
    "open_channel",
    "open_tcp_listeners",
    "with_reflection",
]
