"""Socket.IO for every server of it: what sockets ask (`doors`), who hears what (`rooms`, `members`), how it gets there.

`mina_adapters.flask` and `mina_adapters.socketio` put it on their servers. See docs/sockets.md.
"""
