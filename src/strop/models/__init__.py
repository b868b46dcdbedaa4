"""Talking to models: the chat interface, the renderer and the local engine."""
