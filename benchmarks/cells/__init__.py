"""What many cells cost: a simulated fleet of hub clusters, fed with what one of them was measured to cost.

`calibration` measures one hub, `costs` keeps what it found, `world` says what is assumed, `demand` adds up who needs
what of a cell, `storm` lets hubs and cells die, `latency` says what a queue does to reads. Run it with
`python benchmarks/cell_fleet.py`.
"""
