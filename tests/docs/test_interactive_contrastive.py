"""Interactive page of the contrastive loss: its numbers against the losses of the package, in a browser offline."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from tests.serve.chromium import in_browser, launched

from sori.nn.losses import contrastive, info_nce, step_ahead

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "figures" / "interactive_contrastive.py"
PAGE = ROOT / "docs" / "article" / "interactive" / "contrastive.html"

pytestmark = in_browser


@pytest.fixture(scope="module")
def browser():
    with launched() as one:
        yield one


@pytest.fixture
def opened(browser, request):
    """Open the committed page and fail at the end if it requested anything or complained."""
    size, language = getattr(request, "param", ((1000, 900), ""))
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page, requested, problems = context.new_page(), [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type in {"error", "warning"} and problems.append(message.text))
    page.goto(PAGE.as_uri() + language)
    yield page
    assert (requested, problems) == ([PAGE.as_uri() + language], [])
    context.close()


def computed(page):
    return page.evaluate("({...contrast.state, ...contrast.computed(contrast.state)})")


def slide(page, number, value):
    page.locator("#candidates input").nth(number).fill(str(value))


def softmax_loss(similarities, temperature):
    """Return loss and gradient of the package's InfoNCE, whose targets are unit vectors here: a score for each."""
    s = torch.tensor(similarities, dtype=torch.float64, requires_grad=True)
    number = len(s)
    negatives = torch.arange(1, number)[None, None]
    predictions = (number * s / temperature)[None, None, None]  # info_nce takes the mean over dimensions
    targets = torch.eye(number, dtype=torch.float64)[None]
    loss = info_nce(predictions, targets, torch.zeros(1, 1, dtype=torch.long), negatives).loss
    return loss.item(), torch.autograd.grad(loss, s)[0].tolist()


def binary_loss(similarities, temperature):
    """Return loss and gradient of the package's logistic loss, for one context (frame 0) and its target (frame 1)."""
    s = torch.tensor(similarities, dtype=torch.float64, requires_grad=True)
    number = len(s)
    targets = torch.eye(number, dtype=torch.float64).roll(1, 0)  # frame 1 has score 0, frame n + 1 score n
    predictions = torch.zeros(1, number, 1, number, dtype=torch.float64)
    predictions[0, 0, 0] = 1
    negatives = torch.arange(2, number + 1).remainder(number).expand(1, number, -1)
    scored = predictions * (s / temperature)
    loss = step_ahead(scored, targets[None], torch.tensor([2]), negatives, offset=1).loss
    return loss.item(), torch.autograd.grad(loss, s)[0].tolist()


def test_the_committed_page_is_that_of_the_script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("interactive_contrastive", SCRIPT)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert PAGE.read_text(encoding="utf-8") == made.page()


@pytest.mark.parametrize(("kind", "reference"), [("softmax", softmax_loss), ("binary", binary_loss)])
def test_loss_and_gradients_are_those_of_the_package(opened, kind, reference):
    opened.locator("#kind").select_option(kind)
    rng = torch.Generator().manual_seed(0)
    for temperature in (0, 70, 200):
        opened.locator("#temperature").fill(str(temperature))
        for number in range(8):
            slide(opened, number, round(2 * torch.rand((), generator=rng).item() - 1, 2))
        found = computed(opened)
        loss, gradients = reference(found["similarities"], found["temperature"])
        assert found["loss"] == pytest.approx(loss, rel=1e-9, abs=1e-12)
        assert found["gradients"] == pytest.approx(gradients, rel=1e-9, abs=1e-9)
        assert opened.locator("#loss").inner_text() == f"{loss:.3f}"
        shown = [text.replace("\N{MINUS SIGN}", "-") for text in opened.locator(".signed .number").all_inner_texts()]
        assert [float(text) for text in shown] == pytest.approx(gradients, abs=0.00501)


def test_cosine_of_wav2vec2_gives_the_same_loss(opened):
    """Unit vectors with the similarities of the page, in the loss of wav2vec 2.0."""
    found = computed(opened)
    s = torch.tensor(found["similarities"], dtype=torch.float64)
    number = len(s)
    targets = torch.cat([s[:, None], torch.diag((1 - s**2).sqrt())], dim=1)
    first = torch.zeros(number + 1, dtype=torch.float64)
    first[0] = 1
    negatives = torch.arange(number)[None, :, None].expand(1, -1, number - 1).clone()  # others: only themselves
    negatives[0, 0] = torch.arange(1, number)
    units = torch.arange(number)[None, :, None]
    context = torch.cat([first[None], targets[1:]])
    loss = contrastive(context[None], targets[None], negatives, units, temperature=found["temperature"], equal="drop")
    assert found["loss"] == pytest.approx(loss.loss.item(), rel=1e-5)  # float32; a frame without distractors adds 0


def test_situations_have_their_known_values(opened):
    opened.get_by_role("button", name="before training").click()
    assert float(opened.locator("#loss").inner_text()) == pytest.approx(math.log(8), abs=5e-4)
    opened.locator("#kind").select_option("binary")
    assert float(opened.locator("#loss").inner_text()) == pytest.approx(8 * math.log(2), abs=5e-4)
    assert not opened.locator("#bound").is_visible()
    opened.locator("#kind").select_option("softmax")
    opened.get_by_role("button", name="collapse").click()
    for temperature in (0, 200):
        opened.locator("#temperature").fill(str(temperature))
        assert opened.locator("#loss").inner_text() == opened.locator("#equal").inner_text() == "2.079"
    opened.get_by_role("button", name="false negative").click()
    opened.locator("#temperature").fill("0")
    assert computed(opened)["loss"] == pytest.approx(math.log(2), abs=1e-9)
    assert opened.locator("#hardest").inner_text() == "100 %"


def test_negatives_can_be_added_and_removed_down_to_one(opened):
    for _ in range(20):
        if opened.locator("#more").is_enabled():
            opened.locator("#more").click()
    assert len(computed(opened)["similarities"]) == opened.locator("#candidates li").count() == 16
    while opened.locator("#fewer").is_enabled():
        opened.locator("#fewer").click()
    assert opened.locator("#equal").inner_text() == f"{math.log(2):.3f}"
    assert opened.get_by_label("negative 1, similarity").count() == 1


def test_everything_works_with_the_keyboard(opened):
    opened.keyboard.press("Tab")
    reached = set()
    for _ in range(20):
        reached.add(opened.evaluate("document.activeElement.id || document.activeElement.tagName"))
        opened.keyboard.press("Tab")
    assert {"language", "BUTTON", "temperature", "kind", "INPUT", "fewer", "more"} <= reached
    slider = opened.locator("#candidates input").first
    before = computed(opened)["loss"]
    slider.focus()
    for _ in range(10):
        opened.keyboard.press("ArrowLeft")
    found = computed(opened)
    assert found["similarities"][0] == pytest.approx(0.7)
    assert found["loss"] > before
    assert found["situation"] == "own"


@pytest.mark.parametrize("opened", [((390, 844), "?lang=ko"), ((390, 844), "")], indirect=True)
def test_it_fits_a_telephone_in_both_languages(opened):
    korean = opened.evaluate("document.documentElement.lang") == "ko"
    assert opened.locator("h1").inner_text() == ("대조 손실" if korean else "Contrastive loss")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    slider = opened.locator("#candidates input").first.bounding_box()
    assert slider["width"] > 150
    opened.locator("#language").click()
    assert opened.locator("h1").inner_text() == ("Contrastive loss" if korean else "대조 손실")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_both_languages_have_the_same_words(opened):
    counts = opened.evaluate(
        "['en', 'ko'].map(one => [...Object.keys(TEXT[one]), ...Object.keys(TEXT[one].why)].join())"
    )
    assert counts[0] == counts[1]
    opened.locator("#language").click()
    texts = opened.locator("[data-text]").all_inner_texts()
    assert not [text for text in texts if text.strip() == "undefined"]
