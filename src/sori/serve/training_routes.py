"""Routes of the view Train, and what goes on beside them: rounds are continued, and new recognisers are taken over."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from sori.checkpoints import store as model_store
from sori.core import distributed
from sori.core.log import logger
from sori.evaluation.stored_decoder import STORED, resolved
from sori.inference import int8_test
from sori.inference.lower_precision import set_precision
from sori.serve.label_gains import LearningCurve, learning_curve
from sori.serve.label_queue import LabelQueue
from sori.serve.label_routes import progress
from sori.serve.label_store import LabelStore
from sori.serve.problems import Problem
from sori.serve.project import Project
from sori.serve.recogniser import Recogniser
from sori.serve.rounds import Round, encoders_of, new_round, read_rounds
from sori.serve.service import Service
from sori.training.metrics import read_metrics

_WATCH_SECONDS = 0.5
_MOST_POINTS = 300
_SHOWN = ("step", "loss", "chance", "dev_cer", "seconds_left")


class Start(BaseModel):
    """What to train."""

    init: str | None = Field(default=None, max_length=300)
    """Name of a pre-trained model in the folder `models`; None: from scratch."""
    length: Literal["full", "check"] = "full"


@final
class Training:
    """The rounds of a project while the server runs.

    Args:
        service: of the server; gets the recogniser of the newest finished round.
        project: the project.
        store: its transcripts.
        queue: the order of its utterances; is chosen anew with each new recogniser.
    """

    def __init__(self, service: Service, project: Project, store: LabelStore, queue: LabelQueue) -> None:
        self._service, self._project, self._store, self._queue = service, project, store, queue
        self.rounds = read_rounds(project)
        self._served: int | None = None
        self._broken: set[int] = set()
        self._starting = asyncio.Lock()
        self._curve: tuple[tuple[int, ...], LearningCurve] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Watch the rounds while the server runs; trainings go on without it."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            self._queue.close()

    async def start(self, wanted: Start) -> None:
        """Begin a round.

        Raises:
            Problem: one is running, there are too few transcripts, or no such model.
        """
        async with self._starting:
            if self.rounds and self.rounds[-1].state() in ("training", "scoring"):
                raise Problem(409, "a recogniser is being trained; wait for it, or stop it", code="training")
            known = encoders_of(self._project)
            if wanted.init is not None and wanted.init not in known:
                raise Problem(400, f"expected a model of {', '.join(known) or 'none'}, got another one", param="init")
            init = None if wanted.init is None else str((self._project.folder / "models" / wanted.init).absolute())
            made = await asyncio.to_thread(new_round, self._project, self._store, init=init, length=wanted.length)
            self.rounds.append(made)
            await asyncio.to_thread(made.advance)

    def described(self) -> dict[str, Any]:
        """Return everything that the view shows."""
        curve = self._learning_curve()
        return {
            "rounds": [_described(one) for one in self.rounds],
            "current": _progress(self.rounds[-1]) if self.rounds else None,
            "served": self._served,
            "points": [point._asdict() for point in curve.points],
            "verdict": curve.verdict,
            "encoders": encoders_of(self._project),
            "labels": progress(self._project, self._store),
            "has_texts": (self._project.folder / "texts.txt").is_file(),
        }

    def _learning_curve(self) -> LearningCurve:
        """Return the learning curve, computed again when another round was scored."""
        key = tuple(one.number for one in self.rounds if one.scores.is_file())
        if self._curve is None or self._curve[0] != key:
            self._curve = key, learning_curve(self.rounds)
        return self._curve[1]

    async def _watch(self) -> None:
        while True:
            try:
                if self.rounds:
                    await asyncio.to_thread(self.rounds[-1].advance)
                await self._take_over()
            except Exception:  # noqa: BLE001 - the watch goes on, whatever happens to a round
                logger.exception("a training cannot be watched")
            await asyncio.sleep(_WATCH_SECONDS)

    async def _take_over(self) -> None:
        """Serve the recogniser of the newest finished round."""
        done = [one for one in self.rounds if one.number not in self._broken and one.state() == "finished"]
        newest = done[-1] if done else None
        if newest is None or newest.number == self._served:
            return
        try:
            self._service.recogniser = await self._service.thread.call(lambda: _load(newest))
        except (OSError, ValueError) as error:
            self._broken.add(newest.number)
            logger.warning("the recogniser of round %d cannot be used: %s", newest.number, error)
            return
        self._served = newest.number
        await asyncio.to_thread(self._queue.choose_with, newest.run.path)


def training_router(training: Training) -> APIRouter:
    """Return the routes below `/api/training`."""
    router = APIRouter(prefix="/api/training")

    @router.get("")
    def state() -> dict[str, Any]:
        """Return rounds, live curve, learning curve and verdict."""
        return training.described()

    @router.post("")
    async def start(wanted: Start) -> dict[str, Any]:
        """Begin a round."""
        await training.start(wanted)
        return await asyncio.to_thread(training.described)

    @router.post("/stop")
    def stop() -> dict[str, Any]:
        """Stop the round that is being trained."""
        _last(training.rounds, ("training", "scoring")).stop()
        return training.described()

    @router.post("/continue")
    def resume() -> dict[str, Any]:
        """Continue the last round."""
        _last(training.rounds, ("stopped", "failed", "interrupted")).resume()
        return training.described()

    return router


def _last(rounds: Sequence[Round], states: Sequence[str]) -> Round:
    if not rounds or rounds[-1].state() not in states:
        got = rounds[-1].state() if rounds else "none"
        raise Problem(409, f"expected a round that is {' or '.join(states)}, got {got}", code="state")
    return rounds[-1]


def _load(found: Round) -> Recogniser:
    system = model_store.load(found.run.path).to(distributed.device()).eval()
    set_precision(system, int8=int8_test.find(found.run.path, system))
    points = learning_curve([found]).points
    cer = points[0].cer if points else None
    return Recogniser(f"round {found.number}", system, resolved(system, STORED), cer=cer)


def _described(one: Round) -> dict[str, Any]:
    return {"number": one.number, "state": one.state()} | one.about.model_dump(mode="json")


def _progress(one: Round) -> dict[str, Any]:
    """Return the curve of a round, with at most `_MOST_POINTS` points, and the end of its log."""
    rows = read_metrics(one.run.metrics) if one.run.metrics.is_file() else []
    step = max(1, len(rows) // _MOST_POINTS)
    kept = [row for number, row in enumerate(rows) if number % step == 0 or "dev_cer" in row]
    last: dict[str, Any] = next((row for row in reversed(rows) if row.get("kind") == "train"), {})
    return {
        "curve": [{name: row[name] for name in _SHOWN if name in row} for row in kept],
        "warnings": [f"{row.get('cause')} {row.get('cure')}" for row in rows if row.get("kind") == "warning"],
        "updates": int(last.get("step", 0)),
        "seconds_left": last.get("seconds_left"),
        "log": one.last_lines() if one.state() in ("failed", "training") else [],
    }
