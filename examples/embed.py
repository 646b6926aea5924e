"""The fifteen lines that embed the pipeline; the README shows them, the tests run them."""

from mina_pipeline import Pipeline, Segment

with Pipeline.open("sqlite:///meetings.db") as p:
    p.subscribe(lambda event: print(event.version, event.type))

    session = p.start_session("Weekly", timezone="Europe/Berlin")
    p.record(session.session_id, [
        Segment("okay so um the budget is done", 0, 2400, speaker="Ann"),
        Segment("bob can you send it to the board by friday", 2500, 5200, speaker="Ann"),
        Segment("sure i'll send it tomorrow", 5300, 7000, speaker="Bob"),
    ])  # fmt: skip
    p.finalize(session.session_id)
    p.run_until_idle()  # or `with p.workers(8): …`, beside your web app
    for task in p.result(session.session_id).tasks or ():
        print(task.assigned_to, "·", task.title, "·", task.due_date)
