"""Where logs and read models live: in memory, or in a SQL database through SQLAlchemy."""
