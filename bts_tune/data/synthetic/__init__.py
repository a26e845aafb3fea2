"""Generated slices with known tumours, and the dataset of the demo."""
