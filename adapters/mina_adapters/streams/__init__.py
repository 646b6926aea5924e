"""Our own streams, server-sent events and WebSockets: on ASGI, with what wakes them all at once, and on WSGI.

No framework is imported here. See docs/live.md.
"""
