"""A stage that kills every worker process which runs it."""

from __future__ import annotations

from labour import EXIT, Trouble
from overseer import Place, Process, begin, check, once, revealed, work_forked

from mina_pipeline import Pipeline

CLAIMS = 3
DEADLY = Trouble(sessions="deadly", does="exit", where="call", what="tasks", when="after", once=False)


def test_a_stage_that_kills_its_workers_ends_as_poison(place: Place, template: Process) -> None:
    """So many processes die of it, no more; others' sessions are revealed meanwhile, and then its own."""
    others, deaths = [f"other-{n}" for n in range(3)], 0
    with place.open() as pipeline:
        begin(pipeline, ["deadly", *others])
        shift = place.shift(DEADLY, finish=True, claims_before_poison=CLAIMS)
        while (status := work_forked(template, shift)) == EXIT:
            deaths += 1
            assert deaths <= CLAIMS
            # The first meets it at once; the next does what is due before its lease runs out.
            assert deaths == 1 or all(revealed(pipeline, session_id) for session_id in others)
        assert (status, deaths) == (0, CLAIMS)
        poisoned(place, pipeline)
        for session_id in others:
            check(pipeline, session_id)
            assert place.called()[session_id] == once()


def poisoned(place: Place, pipeline: Pipeline) -> None:
    """It was claimed so often, and no more."""
    check(pipeline, "deadly", tasks="failed")
    assert pipeline.get("deadly").stages["tasks"].reason == "poison"
    assert place.called()["deadly"]["tasks", 1] == CLAIMS


def test_nobody_is_poisoned_beside_it(place: Place, template: Process) -> None:
    """Two threads run both each time, and die together: from the third claim on each is run while nobody else is."""
    with place.open() as pipeline:
        begin(pipeline, ["deadly", "beside"])
        shift = place.shift(DEADLY, threads=2, takes=0.1, finish=True, claims_before_poison=CLAIMS)
        assert [work_forked(template, shift) for _ in range(CLAIMS + 1)] == [EXIT] * CLAIMS + [0]
        poisoned(place, pipeline)
        check(pipeline, "beside")
