"""The gateway: Kafka connections in, calls to partition owners and metadata out. Holds nothing durable."""
