"""One trial: model, augmentation, loss, metrics and the loop; no Ray."""
