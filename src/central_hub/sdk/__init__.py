"""The client side: find services through a hub, call them directly, be one of them.

Owns: the local view of services, balancing, direct calls, registration and drain. Stands on the
kernel only; nothing here loads the server, and aiohttp is loaded when a client opens.
"""
