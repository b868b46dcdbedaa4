"""OpenAI's grader JSON: read, executed with the meaning it has there, and compiled from a grader file."""
