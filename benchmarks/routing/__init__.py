"""The judge of routing: a simulated fleet of model servers, what a hub would know of it, and how well a policy chooses.

`grid.toml` holds the cells, `simulation` runs a policy through one, `scores` says how well it did, `oracles` are what
it is held against, `baselines` what others do. Run it with `python benchmarks/routing_judge.py`.
"""
