"""Programs that run partly in engines and partly in PyTorch, with one set of weights."""
