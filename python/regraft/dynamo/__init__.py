"""The torch.compile backend ``"regraft"``: graphs become engines, weight changes become refits.

compiled = torch.compile(model, backend="regraft", options={"precision": "bf16"})
"""

from regraft.dynamo.backend import backend

__all__ = ["backend"]
