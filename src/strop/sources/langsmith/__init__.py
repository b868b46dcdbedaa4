"""LangSmith: run query v1 and v2, feedback."""
