"""What all HTTP shares: the operations table, guard, pipeline, problems, OpenAPI, streams and the lane.

Stands below the features: it declares small ports (`Authenticate`, `Denials`, `Positions`,
`Protection`, `LaneEntries`) that features implement and `app` wires.
"""
