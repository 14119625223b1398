"""The operator: objects for each KafscaleCluster, a topic for each KafscaleTopic. Holds nothing durable."""
