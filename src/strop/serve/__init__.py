"""The OpenAI-compatible server: chat with capture, models, OTLP in."""
