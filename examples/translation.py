"""A host's own stage in its own definition: a toy translation that runs beside analytics, after refinement."""

from __future__ import annotations

from mina_pipeline import STANDARD_STAGES, Empty, Ok, Pipeline, Segment, StageContext, define, stage

WORDS = {"good": "gut", "morning": "Morgen", "everyone": "alle", "thanks": "danke", "and": "und"}


@stage("translation", after="refinement", running="translating")
def translate(ctx: StageContext) -> Ok | Empty:
    """Translate each refined segment; a checkpoint each, so that a crash repeats none of them."""
    if not ctx.segments:
        return Empty()
    lines = []
    for done, (segment_id, text) in enumerate(ctx.refined.items(), 1):
        lines.append(ctx.checkpoint(segment_id, lambda text=text: german(text)))
        ctx.progress(done, len(ctx.segments))
    return Ok({"language": "de", "lines": lines})


def german(text: str) -> str:
    """Word by word; a real stage asks a service here."""
    return " ".join(WORDS.get(word.strip(".,").lower(), word) for word in text.split())


TRANSLATED = define("translated", *STANDARD_STAGES, translate)


def main() -> None:
    with Pipeline.open("memory://", definition=TRANSLATED) as pipeline:
        session = pipeline.start_session("Standup")
        pipeline.record(session.session_id, [Segment("good morning everyone um thanks", 0, 2500, "Ann")])
        pipeline.finalize(session.session_id)
        pipeline.run_until_idle()
        print(pipeline.get(session.session_id).state)
        print(pipeline.result(session.session_id).others["translation"].artefact["lines"][0])


if __name__ == "__main__":
    main()
