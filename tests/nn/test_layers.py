import pytest

from sori.nn.layers import choose_layer


def test_the_last_layer_unless_one_is_named():
    assert [choose_layer(layer, 3, lowest="z") for layer in (None, 0, 3)] == [3, 0, 3]


@pytest.mark.parametrize("layer", [-1, 4])
def test_what_is_not_there_is_named_with_what_is(layer):
    with pytest.raises(ValueError, match=rf"no layer {layer}: this model has 0 \(the front end\) to 3"):
        choose_layer(layer, 3, lowest="the front end")
