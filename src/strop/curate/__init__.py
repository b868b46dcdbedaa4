"""Clean, distinct, balanced, split: pure functions over traces."""
