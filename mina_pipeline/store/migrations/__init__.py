"""The tables' history: one file a revision in `versions/`, numbered 0001, 0002, …; run by `runner`.

A revision only expands, so that the release before it still runs: a new table, index or nullable column, never a
rename, a drop or a new obligation. It is a frozen copy: it imports nothing of ours, and is not edited once released.
With a new one go HEAD and TABLES in `store/schema.py`, and OURS in `mina_adapters/alembic.py`.
"""
