"""Which of a model's layers is asked for."""


def choose_layer(layer: int | None, num_layers: int, *, lowest: str) -> int:
    """The number of a layer.

    Args:
        layer: 0 to `num_layers`; None: the last.
        num_layers: above layer 0.
        lowest: what layer 0 is, for the message.

    Raises:
        ValueError: there is no such layer.
    """
    if layer is None:
        return num_layers
    if not 0 <= layer <= num_layers:
        raise ValueError(f"there is no layer {layer}: this model has 0 ({lowest}) to {num_layers}")
    return layer
