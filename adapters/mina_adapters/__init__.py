"""Adapters to other technologies, one file each; a driver is imported where it is used.

They see the public names of mina_pipeline and its ports, never the store.
"""
