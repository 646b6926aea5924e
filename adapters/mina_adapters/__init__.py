"""Adapters to other technologies: a file each, whose driver is imported where it is used, over rooms that they share.

`web/`: the doors, whoever opens them; `streams/`: server-sent events and WebSockets; `sockets/`: Socket.IO. All see the
public names of mina_pipeline and its ports, never the store.
"""
