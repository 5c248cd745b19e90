import math

import pytest
from tests.lm.test_ngram import model_of

from sori.lm import kneser_ney
from sori.lm.fusion import new_word_score, untuned
from sori.lm.ngram import NgramModel


def test_a_new_word_gets_the_probability_of_all_unseen_words(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d e f g h a b c d a b a\n" * 4 + "b c d e f a\n" * 3)
    kneser_ney.build([tmp_path / "text.txt"], order=1, into=tmp_path / "lm.arpa")
    lm = NgramModel.read(tmp_path / "lm.arpa")
    assert lm.words.count("<unk>") == 1
    share = float(lm.ngrams.log_prob[1 + lm.unknown])
    assert share + new_word_score(lm, 1.0) == pytest.approx(math.log(math.exp(share) * len(lm.words)))
    assert new_word_score(lm, 0.5) == pytest.approx(0.5 * new_word_score(lm, 1.0))
    assert untuned(lm).unknown_score == pytest.approx(new_word_score(lm, untuned(lm).lm_weight))


@pytest.mark.parametrize(("log10", "expected"), [(-0.1, 0.0), (-1.0, math.log(3)), (-9.0, math.log(4))])
def test_a_model_that_gives_unknown_words_more_gets_less(log10, expected, tmp_path):
    rows = f"{log10}\t<unk>\n-99\t<s>\n-1\t</s>\n-1\ta\n"
    lm = model_of(f"\\data\\\nngram 1=4\n\n\\1-grams:\n{rows}\n\\end\\\n", tmp_path)
    assert new_word_score(lm, 1.0) == pytest.approx(min(expected, math.log(4)), abs=1e-5)
