"""The model zoo of the tests: real architectures with random weights, and their export to .pt2."""
