"""OpenAI: stored completions, and logs of requests with their responses."""
