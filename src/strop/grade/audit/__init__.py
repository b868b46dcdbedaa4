"""The examination of a grader before it rewards training."""
