"""The simulated world: production services in one Trio process, with every port replaced by one that fails.

A seed decides everything. `determinism` makes it so, `process` is what can be killed and paused, `network`,
`store` and `kv` are the ports, `cluster` starts the services, `world` joins them.
"""
