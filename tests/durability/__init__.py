"""Nothing acknowledged is lost: simulated power cuts, and hubs killed under load."""
