"""The name of the processor, on Linux and elsewhere."""

import platform
from pathlib import Path

import pytest

from sori.core.processor import processor_name


@pytest.fixture(autouse=True)
def unremembered():
    processor_name.cache_clear()
    yield
    processor_name.cache_clear()


def test_it_is_that_of_the_first_core(monkeypatch):
    text = "processor\t: 0\nmodel name\t: Abacus 3000: Pro\n\nprocessor\t: 1\nmodel name\t: Other\n"
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert processor_name() == "Abacus 3000: Pro"


def test_elsewhere_it_is_that_of_the_operating_system(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert processor_name() == "arm"
    processor_name.cache_clear()
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor_name() == platform.machine()
