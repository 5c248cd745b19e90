"""Routes of the view Label: the next utterance, and what people decide about it."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from sori.core.log import printable
from sori.data.manifest import Utterance
from sori.serve.label_queue import LabelQueue
from sori.serve.label_store import REASONS, LabelStore, checked_text
from sori.serve.problems import Problem
from sori.serve.project import Project
from sori.text.vocabulary import graphemes

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,?!'-\"")
"""Characters that every keyboard has."""
_MOST_CHARACTERS = 60
_NUM_RECENT = 8
_LONGEST_NAME = 200
Client = Annotated[str, Field(pattern=r"^[0-9a-f-]{8,64}$")]


class Asking(BaseModel):
    """A window that wants an utterance."""

    client: Client
    """Number that the window has drawn."""
    id: str | None = Field(default=None, max_length=4_000)
    """Utterance to open, or whose lease to renew; None: the next one."""


class Change(BaseModel):
    """What was decided about an utterance."""

    id: str = Field(max_length=4_000)
    version: int = Field(ge=0)
    """Version of the label that the change was made from."""
    text: str | None = Field(default=None, max_length=20_000)
    skipped: str | None = Field(default=None, max_length=100)


class Characters(BaseModel):
    """Characters to offer."""

    characters: str = Field(max_length=200)


def labels_router(project: Project, store: LabelStore, queue: LabelQueue) -> APIRouter:
    """Return the routes below `/api/labels`."""
    router = APIRouter(prefix="/api/labels")

    def opened(name: str) -> dict[str, object]:
        return _described(utterance_of(store, name)) | {"label": store.label(name)._asdict()}

    @router.post("/next")
    def next_utterance(asking: Asking) -> dict[str, object]:
        """Lease the next utterance, or a named one, to a window."""
        if asking.id is not None:
            utterance_of(store, asking.id)
            if not queue.leases.take(asking.id, asking.client):
                raise Problem(409, "another window is working on this utterance", code="leased")
            return {"utterance": opened(asking.id), "is_choosing": False, "progress": progress(project, store)}
        name = queue.next_name(asking.client)
        found = None if name is None else opened(name)
        state: dict[str, object] = {
            "is_choosing": queue.is_choosing,
            "problem": queue.problem,
            "progress": progress(project, store),
        }
        return state | {"utterance": found}

    @router.post("/lease")
    def renew(asking: Asking) -> dict[str, bool]:
        """Renew a lease; tells whether the window still has it."""
        return {"held": asking.id is not None and queue.leases.take(utterance_of(store, asking.id).id, asking.client)}

    @router.post("")
    def change(wanted: Change) -> dict[str, object]:
        """Store a transcript or the reason why there is none; answers when it is on the disk."""
        label = store.change(wanted.id, text=wanted.text, skipped=wanted.skipped, version=wanted.version)
        return {"label": label._asdict(), "progress": progress(project, store)}

    @router.get("/recent")
    def recent() -> dict[str, object]:
        """Return the last decisions, the latest first."""
        every = [(name, label) for name, label in store.labels().items() if label.text or label.skipped]
        rows = [
            _described(utterance_of(store, name)) | {"label": label._asdict()}
            for name, label in every[: -_NUM_RECENT - 1 : -1]
        ]
        return {"rows": rows, "count": len(every)}

    @router.post("/characters")
    def keep_characters(given: Characters) -> dict[str, list[str]]:
        """Store the characters that are offered besides those of the transcripts."""
        text = "".join(dict.fromkeys(graphemes("".join(checked_text(given.characters).split()))))
        project.keep(project.settings.model_copy(update={"characters": text}))
        return {"characters": special_characters(project, store)}

    return router


def progress(project: Project, store: LabelStore) -> dict[str, object]:
    """Return how much is done, and what the page needs beside the utterance."""
    done = store.seconds_done() / 60
    goal = project.settings.goal_minutes
    labels = store.labels().values()
    return {
        "minutes": round(done, 3),
        "goal": goal * (int(done / goal) + 1) if done >= goal else goal,
        "transcribed": sum(label.text is not None for label in labels),
        "skipped": sum(label.skipped is not None for label in labels),
        "utterances": len(store.utterances),
        "characters": special_characters(project, store),
        "reasons": list(REASONS),
    }


def special_characters(project: Project, store: LabelStore) -> list[str]:
    """Return the characters of the transcripts that not every keyboard has, the most frequent first."""
    typed = (label.text for label in store.labels().values() if label.text is not None)
    counts = project.letter_counts + Counter(letter for text in typed for letter in graphemes(text))
    counts = Counter({letter: count for letter, count in counts.items() if letter not in _PLAIN})
    wanted = [letter for letter in graphemes(project.settings.characters) if letter not in counts]
    return [*wanted, *(letter for letter, _ in counts.most_common())][:_MOST_CHARACTERS]


def utterance_of(store: LabelStore, name: str) -> Utterance:
    """Return an utterance of the project.

    Raises:
        Problem: there is none of this id.
    """
    if name not in store.utterances:
        raise Problem(
            404, f"expected an utterance of this project, got {printable(name)[:_LONGEST_NAME]!r}", param="id"
        )
    return store.utterances[name]


def _described(utterance: Utterance) -> dict[str, object]:
    seconds = round(utterance.duration_seconds, 3)
    return {"id": utterance.id, "speaker": utterance.speaker, "seconds": seconds, "start": round(utterance.start, 3)}
