"""What the doors of every web framework share: rights, bodies, errors, rates, pages, and the table of routes.

No framework is imported here. `Doors.answer` takes a request as values and gives the reply as values; a framework's
file maps `routes.ROUTES` to it, asks the host who is asking, and checks the origin. See docs/web.md.
"""
