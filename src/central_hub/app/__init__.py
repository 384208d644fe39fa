"""The only place where the hub is wired, and where one is run. Nothing happens at import.

`build` makes a hub of stores that are open, `serve` opens them and runs one until it is told to stop.
"""

from central_hub.app.hub import Hub
from central_hub.app.redacting import redact_stderr
from central_hub.app.serving import configure_logging, serve
from central_hub.app.wiring import build, describe

__all__ = ["Hub", "build", "configure_logging", "describe", "redact_stderr", "serve"]
