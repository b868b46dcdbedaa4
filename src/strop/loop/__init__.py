"""The durable loop: plain steps, a body that reads top to bottom, and an engine below a protocol."""
