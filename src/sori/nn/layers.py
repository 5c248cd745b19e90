"""Choice of one of a model's layers."""


def choose_layer(layer: int | None, num_layers: int, *, lowest: str) -> int:
    """Return the number of a layer, checked.

    Args:
        layer: 0 to `num_layers`; None: the last.
        num_layers: number of layers above layer 0.
        lowest: name of layer 0, for the message.

    Raises:
        ValueError: if there is no such layer.
    """
    if layer is None:
        return num_layers
    if not 0 <= layer <= num_layers:
        raise ValueError(f"there is no layer {layer}: this model has 0 ({lowest}) to {num_layers}")
    return layer
