"""Every limit that more than one package needs, with its arithmetic asserted.

Owns: sizes and counts that must agree between services. Does not own: a service's own settings (its
`config.py`). Units are last in each name.
"""

KIB = 1024
MIB = 1024 * KIB

# Kafka's rim.
REQUEST_BYTES_MAX = 100 * MIB  # Kafka's socket.request.max.bytes
RECORD_BATCH_BYTES_MAX = 1 * MIB + 12  # Kafka's message.max.bytes default
RECORD_BATCH_BYTES_CEILING = 32 * MIB  # what max.message.bytes of a topic may be raised to
TOPIC_NAME_LENGTH_MAX = 249
PARTITIONS_PER_TOPIC_MAX = 1024
OFFSET_METADATA_BYTES_MAX = 4096
GROUP_ID_LENGTH_MAX = 255

# The chain (design section 3).
CHAIN_IN_FLIGHT_MAX = 4  # W
CHAIN_OBJECT_BYTES_TARGET = 8 * MIB
CHAIN_OBJECT_BYTES_MAX = 64 * MIB
CHAIN_INDEX_EVERY = 64
FLUSH_AGE_MS_MAX = 250
UNFLUSHED_BYTES_MAX = 512 * MIB

# Producer state (KIP-98: the broker keeps the last five batches of each producer).
PRODUCER_BATCHES_KEPT = 5

# The metadata store.
TXN_OPERATIONS_MAX = 128  # etcd's default max-txn-ops
VALUE_BYTES_MAX = 1 * MIB  # below etcd's 1.5 MiB request limit

# gRPC.
RPC_MESSAGE_BYTES_MAX = 64 * MIB

assert RECORD_BATCH_BYTES_MAX <= RECORD_BATCH_BYTES_CEILING < CHAIN_OBJECT_BYTES_MAX
assert RECORD_BATCH_BYTES_CEILING < RPC_MESSAGE_BYTES_MAX
assert CHAIN_OBJECT_BYTES_TARGET <= CHAIN_OBJECT_BYTES_MAX
assert CHAIN_IN_FLIGHT_MAX * CHAIN_OBJECT_BYTES_MAX <= UNFLUSHED_BYTES_MAX
assert CHAIN_INDEX_EVERY > CHAIN_IN_FLIGHT_MAX
