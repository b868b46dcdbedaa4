"""W&B Weave: calls, agent spans, feedback."""
