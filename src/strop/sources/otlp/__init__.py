"""OpenTelemetry's own protocol: its wire format, files of it, and what receives it."""
