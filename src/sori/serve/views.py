"""The applications: which views and routes a server has."""

from pathlib import Path

from fastapi import APIRouter, FastAPI

from sori.serve.about import about_router
from sori.serve.access import Access
from sori.serve.app import application
from sori.serve.label_queue import LabelQueue
from sori.serve.label_routes import labels_router
from sori.serve.label_sounds import label_sounds_router
from sori.serve.label_store import LabelStore
from sori.serve.live_stream import stream_router
from sori.serve.openai_api import openai_router
from sori.serve.project import Project
from sori.serve.service import Service
from sori.serve.training_routes import Training, training_router
from sori.serve.transcripts import transcripts_router
from sori.serve.uploads import Uploads


def transcription_app(service: Service, access: Access) -> FastAPI:
    """Return the application of `sori serve MODEL`."""
    return application(service, access, (about_router(service, ("transcribe",)), *_transcription(service)))


def project_app(service: Service, access: Access, project: Project, *, model: Path | None = None) -> FastAPI:
    """Return the application of `sori serve --project FOLDER`.

    Args:
        service: what the routes share; its recogniser becomes the newest one of the project.
        access: who may use it.
        project: the opened project.
        model: model that helps to choose utterances until the project has a recogniser of its own.
    """
    store = LabelStore(project.folder, project.candidates())
    queue = LabelQueue(project, store, model=model)
    training = Training(service, project, store, queue)
    service.parts.append(training.running)
    routers = (
        about_router(service, ("label", "train", "transcribe")),
        labels_router(project, store, queue),
        label_sounds_router(service, store),
        training_router(training),
        *_transcription(service),
    )
    return application(service, access, routers)


def _transcription(service: Service) -> tuple[APIRouter, ...]:
    uploads = Uploads(service)
    service.parts.append(uploads.running)
    return (
        transcripts_router(service, uploads),
        openai_router(service, uploads),
        stream_router(service),
    )
