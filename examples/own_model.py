"""The standard stages by a model of your own: any OpenAI-compatible server. Run me: python own_model.py"""

from mina_pipeline import Pipeline, Segment
from mina_pipeline.stages.openai import provider
from mina_pipeline.testing.openai_server import OpenAIServer
from mina_pipeline.testing.truthful_model import truthful

SAID = [
    Segment("um we decided to keep the old printer", 0, 3000, speaker="Ann"),
    Segment("i will send the budget to the board by friday", 3100, 6500, speaker="Bob"),
]

with OpenAIServer(truthful) as server:  # in place of yours: this one answers for tests, without a key or a network
    model = provider(
        base_url=server.base_url,
        model="my-model",
        prices={"my-model": (0.25, 2.0)},  # what a million tokens cost, in and out
        session_money=0.50,
    )
    with Pipeline.open("sqlite:///meetings.db", provider=model) as p:
        session = p.start_session("Weekly")
        p.record(session.session_id, SAID)
        p.finalize(session.session_id)
        p.run_until_idle()
        for task in p.result(session.session_id).tasks or ():
            print(task.assigned_to, "·", task.title, "·", task.quotes)
        usage = p.get(session.session_id).usage
        print(usage["tokens_in"] + usage["tokens_out"], "tokens,", f"{usage['cost']:.4f} spent")
