"""The offline trainer: reads a dataset directory, learns a model and publishes it as a bundle."""
