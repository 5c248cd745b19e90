"""The order of the utterances: chosen in a process of its own, again with a new model, and the rest at the end."""

import pytest
from tests.serve.projects import CLIENT, OTHER, ordered, untranscribed, wait_for

from sori.inference.selection import read_ids
from sori.serve.label_queue import LabelQueue
from sori.serve.label_store import LabelStore
from sori.serve.project import open_project


@pytest.fixture
def opened(prepared_tones, tmp_path):
    folder = tmp_path / "project"
    untranscribed(prepared_tones, folder / "prepared", count=6)
    with open_project(folder, None) as project:
        yield project, LabelStore(folder, project.candidates())


def finish(store, name):
    store.change(name, text="words", skipped=None, version=store.label(name).version)


def test_utterances_are_chosen_and_all_come_in_the_end(opened):
    project, store = opened
    queue = LabelQueue(project, store, model=None)
    assert queue.next_name(CLIENT) is None
    assert queue.is_choosing
    wait_for(lambda: not queue.is_choosing, seconds=120)
    chosen = read_ids(project.folder / "queue" / "order.tsv", "id")
    seen = []
    while (name := queue.next_name(CLIENT)) is not None or queue.is_choosing:
        if name is not None:
            seen.append(name)
            finish(store, name)
    assert seen[: len(chosen)] == chosen
    assert sorted(seen) == sorted(store.utterances)
    queue.close()


def test_the_order_is_kept_for_the_next_server(opened):
    project, store = opened
    names = sorted(store.utterances, reverse=True)
    ordered(project.folder, [*names, "unknown", *names[:2]])
    queue = LabelQueue(project, store, model=None)
    assert queue.next_name(CLIENT) == names[0]
    assert queue.next_name(OTHER) == names[1]
    assert not queue.is_choosing


def test_a_failing_choice_gives_its_reason_and_the_order_of_the_corpus(opened):
    project, store = opened
    ordered(project.folder, [])
    queue = LabelQueue(project, store, model=project.folder / "no such model")
    queue.next_name(CLIENT)
    wait_for(lambda: not queue.is_choosing, seconds=120)
    assert queue.next_name(CLIENT) == next(iter(store.utterances))
    assert "no such model" in queue.problem
