"""An existing ASGI application (here: FastAPI) as a service of the platform.

`python examples/wrap_asgi.py 8010` needs fastapi and uvicorn. On SIGTERM the hub stops sending
callers here and requests in flight end before uvicorn closes its socket.
"""

import sys

import uvicorn
from fastapi import FastAPI

from central_hub import BaseService, ServiceConfig, current_context

api = FastAPI()


@api.get("/users/me")
async def me() -> dict[str, str | None]:
    """Say who the request is for."""
    context = current_context()
    return {"tenant": context.tenant_id if context else None, "user": context.user_id if context else None}


if __name__ == "__main__":
    port = int(sys.argv[1])
    service = BaseService(ServiceConfig("user-management", "1.0.0", port))
    uvicorn.run(service.asgi(api), host="127.0.0.1", port=port, log_level="warning")
