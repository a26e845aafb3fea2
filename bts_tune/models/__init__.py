"""Networks: decoders, encoders, their weights, freezing and dropout."""
