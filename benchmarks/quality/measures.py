"""How good a summary and tasks are against the human ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mina_pipeline.meeting import Task

WORDS = 350
_CITATIONS, _NEAR = 3, 3
MEASURES = ("rouge1", "rouge2", "rougeL")


def rouge(summary: str, abstract: str) -> tuple[float, float, float]:
    """ROUGE-1, -2 and -L F1 in percent of the first 350 words, by rouge-score with stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    scores = RougeScorer(list(MEASURES), use_stemmer=True).score(abstract, " ".join(summary.split()[:WORDS]))
    one, two, longest = (100 * scores[name].fmeasure for name in MEASURES)
    return one, two, longest


def count_hits(tasks: Iterable[Task], actions: Sequence[frozenset[int]], ordinals: dict[str, int]) -> int:
    """How many tasks are right: one of the first three citations lies within three cues of one that supports an
    action item that no earlier task hit."""
    free = list(range(len(actions)))
    hits = 0
    for task in tasks:
        cited = [ordinals[cue] for cue in task.evidence[:_CITATIONS] if cue in ordinals]
        hit = next((n for n in free if any(abs(a - b) <= _NEAR for a in cited for b in actions[n])), None)
        if hit is not None:
            free.remove(hit)
            hits += 1
    return hits


def f1(hits: int, ours: int, theirs: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * hits / (ours + theirs) if ours + theirs else 0.0
