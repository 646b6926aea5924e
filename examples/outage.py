"""A stage whose provider is away: the run waits, and the fallback makes it in time. Run me: python outage.py"""

import time

from mina_pipeline import Ok, Pipeline, ProviderUnavailable, Settings, StageContext, define, stage


def word_by_word(ctx: StageContext) -> Ok:
    return Ok({"text": "made by hand"})


@stage("translation", running="translating", provider="translator", fallback=word_by_word)
def translate(ctx: StageContext) -> Ok:
    raise ProviderUnavailable("translator", "outage")  # as your client would, at a 503


settings = Settings(reveal_deadline=1.0, retry_first=0.2)
with Pipeline.open("memory://", definition=define("translated", translate), settings=settings) as p:
    p.subscribe(lambda event: print(event.version, event.type, event.data.get("reason") or ""))
    session = p.start_session("Weekly")
    p.finalize(session.session_id)
    with p.workers(2):
        while p.get(session.session_id).state != "revealed":
            time.sleep(0.05)
    made = p.result(session.session_id).others["translation"]
    print(made.outcome, made.reason, made.artefact["text"])
