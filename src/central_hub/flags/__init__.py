"""Feature flags: served over OFREP, evaluated for one tenant and environment."""
