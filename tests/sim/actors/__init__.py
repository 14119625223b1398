"""Who acts in the simulated world: clients that speak Kafka's protocol, an admin, and the nemesis."""
