"""What took effect in the store, in its true order: told by the wrapper, whatever the callers got to hear."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...ports import Append
from ...projections import Op
from ...work_shapes import Claimed, Wanted
from .plan import Plan
from .schedule import Schedule

Key = tuple[str, str, str]
"""A row of work: session, kind, stage."""


@dataclass
class Hold:
    """A claim that took effect, at (true time). until: by the store's clock; ended: what took the row from it."""

    token: str
    key: Key
    run: int
    at: int
    until: int
    ended: str | None = None


@dataclass(frozen=True)
class Broken:
    """A promise that was broken; 0: something that none of them allows for."""

    promise: int
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise}: {self.what}"


@dataclass
class Ledger:
    """Holds, checkpoints and acknowledgements. Finds at once what could not be seen at the end.

    store_time: what the store takes a host's time for. A worker is known by its actor's name.
    """

    schedule: Schedule
    plan: Plan
    store_time: Callable[[int], int]
    newest: dict[Key, Hold] = field(default_factory=dict)
    tokens: dict[str, Hold] = field(default_factory=dict)
    in_hand: dict[str, Hold] = field(default_factory=dict)
    due: dict[Key, int] = field(default_factory=dict)
    claims: Counter[tuple[Key, int]] = field(default_factory=Counter)
    versions: dict[str, int] = field(default_factory=dict)
    times: dict[tuple[str, int], int] = field(default_factory=dict)
    acknowledged: dict[tuple[str, int], str] = field(default_factory=dict)
    checkpoints: dict[tuple[str, str, int, str], int] = field(default_factory=dict)
    effects: int = 0
    last_calls: dict[str, tuple[str, int]] = field(default_factory=dict)
    signs: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    looked: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    found: list[Broken] = field(default_factory=list)

    def broken(self, promise: int, what: str) -> None:
        found = Broken(promise, what)
        if found not in self.found:
            self.found.append(found)
            self.schedule.note(f"BROKEN {found}")

    @property
    def mine(self) -> Hold | None:
        """What the current actor took last."""
        actor = self.schedule.current
        return None if actor is None else self.in_hand.get(actor.name)

    def in_charge(self, session_id: str, stage: str) -> bool:
        """Whether the current actor holds this stage."""
        mine = self.mine
        return mine is not None and mine.ended is None and mine.key[::2] == (session_id, stage)

    def hold(self, hold: Hold) -> None:
        held = self.newest.get(hold.key)
        if held is not None and held.ended is None:
            held.ended = "taken over"
            self.counts["takeovers"] += 1
        self.newest[hold.key] = self.tokens[hold.token] = hold
        self.claims[hold.key, hold.run] += 1
        if self.schedule.current is not None:
            self.in_hand[self.schedule.current.name] = hold

    def end(self, hold: Hold | None, how: str) -> None:
        if hold is not None and hold.ended is None:
            hold.ended = how

    # --- effects, by the store's methods: the answer, and what was asked

    def claim(self, claimed: Claimed | None, now: int, owner: str, token: str, lease: int, wanted: Wanted) -> None:
        if claimed is None:
            return
        key, here = (claimed.session_id, claimed.kind, claimed.stage), self.store_time(now)
        held = self.newest.get(key)
        if held is not None and held.ended is None and held.until > here:
            self.broken(4, f"{token} claimed {key}, which {held.token} held for {(held.until - here) / 1e6:g} s more")
        if wanted.only is None and here < self.due.get(key, 0):
            early = (self.due[key] - here) / 1e6
            self.broken(5, f"{key} run {claimed.run} was claimed {early:g} s before it was due")
        self.hold(Hold(token, key, claimed.run, self.schedule.now, here + lease))
        live = [one for one in self.newest.values() if one.ended is None and one.until > here and one.key[1] != "timer"]
        for group, most in wanted.limits if wanted.only is None and claimed.kind != "timer" else ():
            if claimed.stage in group and sum(one.key[2] in group for one in live) > most:
                self.broken(0, f"{key} was claimed beyond the limit of {most} for {sorted(group)}")

    def renew(self, held: list[str], now: int, tokens: Sequence[str], lease: int) -> None:
        for token in held:
            hold = self.tokens[token]
            if hold.ended is not None:
                self.broken(4, f"{token} was renewed on {hold.key}, after: {hold.ended}")
            hold.until = self.store_time(now) + lease

    def give_back(self, answer: None, token: str) -> None:
        hold = self.tokens.get(token)
        if hold is not None and hold.ended is None:
            self.claims[hold.key, hold.run] -= 1
        self.end(hold, "given back")

    def postpone(self, held: bool, now: int, token: str, delay: int, tried: bool = False) -> None:
        hold = self.tokens[token]
        if not held:
            return
        if hold.ended is not None:
            self.broken(4, f"{token} postponed {hold.key}, after: {hold.ended}")
        self.end(hold, "postponed")
        self.claims[hold.key, hold.run] = 0
        self.due[hold.key] = self.store_time(now) + delay

    def release(self, there: bool, now: int, session_id: str, kind: str, stage: str) -> None:
        self.end(self.newest.get((session_id, kind, stage)), "released")
        self.due.pop((session_id, kind, stage), None)

    def spread(self, count: int, now: int, stages: Sequence[str], pace: int) -> None:
        for key in [key for key in self.due if key[2] in stages]:
            del self.due[key]

    def touch(self, answer: None, now: int, session_id: str) -> None:
        self.sign(session_id, now)

    def append(self, done: bool, append: Append) -> None:
        if not done:
            return
        session_id, before = append.session_id, self.versions.get(append.session_id, 0)
        if before != append.expected:
            self.broken(1, f"{session_id}: version {append.expected + 1} was appended to {before}")
        self.versions[session_id] = append.expected + len(append.events)
        guard = append.guard
        if guard is not None:
            hold = self.newest.get((session_id, guard.kind, guard.stage))
            if hold is None or hold.token != guard.token or hold.ended is not None:
                what = "a row that is nobody's" if hold is None or hold.ended else f"one that {hold.token} holds"
                types = [row["type"] for row in append.events]
                self.broken(4, f"{session_id}: {types} by {guard.token}, of {what}")
        for row in append.events:
            self.times[session_id, row["version"]] = self.schedule.now
            self.happened(append, row["type"], msgspec.json.decode(row["data"]))
        for op in append.ops:
            if op.table == "work":
                self.worked(op, append.at)
        for row in append.events:
            if row["type"].endswith("_waiting"):  # by the event's word, not the operation's
                event, by = msgspec.json.decode(row["data"]), self.store_time(append.at) - append.at
                self.due[session_id, "stage", event["stage"]] = event["retry_at"] + by

    def happened(self, append: Append, kind: str, event: Mapping[str, Any]) -> None:
        session_id = append.session_id
        if kind in ("session_started", "segments_recorded"):
            self.sign(session_id, append.at)
        elif kind == "session_finalized":
            by = (
                self.mine
                if "late-abandon" in self.plan.without
                else self.newest.get((session_id, "timer", "recording"))
            )
            self.looked[session_id] = by.at if by is not None else 0
        elif kind.endswith("_failed") and event["reason"] == "poison":
            claims = self.claims[(session_id, "stage", event["stage"]), event["run"]]
            if claims <= self.plan.settings.claims_before_poison:
                self.broken(5, f"{session_id}: {kind} run {event['run']} for poison, after {claims} claims")
        elif kind.endswith("_progress") and event.get("key") is not None:
            late = "late-checkpoint" in self.plan.without and not self.in_charge(session_id, event["stage"])
            if not late:
                self.checkpoints.setdefault((session_id, event["stage"], event["run"], event["key"]), self.effects)

    def worked(self, op: Op, at: int) -> None:
        by = self.store_time(at) - at
        for row in op.rows:
            key = (row["session_id"], row["kind"], row["stage"])
            if op.kind == "delete":
                self.end(self.newest.get(key), "its row is gone")
                self.due.pop(key, None)
                continue
            if "token" in row:
                held = self.newest.get(key)
                self.end(held, f"its row is new ({op.kind})")
                self.claims[key, row.get("run", held.run if held else 0)] = 0
            if "due_at" in row:
                self.due[key] = row["due_at"] + by
            if row.get("token") is not None:
                self.hold(Hold(row["token"], key, row["run"], self.schedule.now, row["until"] + by))

    # --- the rest

    def called(self, name: str) -> None:
        """Any call took effect; the current actor's last one is remembered."""
        self.effects += 1
        if self.schedule.current is not None:
            self.last_calls[self.schedule.current.name] = (name, self.effects)

    def sign(self, session_id: str, at: int) -> None:
        """A sign of life, and when that was by its sender's clock."""
        self.signs[session_id].append((self.schedule.now, at))

    def acknowledge(self, append: Append) -> None:
        for row in append.events:
            self.acknowledged[append.session_id, row["version"]] = row["event_id"]

    def asked(self, session_id: str, stage: str, run: int, key: str) -> None:
        """A provider is asked: not for what is recorded.

        Who was overtaken does not know; who asks right after a look into the log knows what was there at the look.
        """
        name, at = self.last_calls.get(self.schedule.alive().name, ("", 0))
        recorded = self.checkpoints.get((session_id, stage, run, key))
        if not self.in_charge(session_id, stage):
            self.counts["asked by who was overtaken"] += 1
        elif recorded is not None and (recorded < at or name != "events"):
            self.broken(4, f"{session_id} {stage} run {run}: {key!r} was bought again after it was recorded")
