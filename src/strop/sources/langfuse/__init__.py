"""Langfuse: API v3 and v4, exports of its interface, scheduled exports."""
