"""Throughput and latency beside Apache Kafka, measured with Kafka's own tools in the same run."""
