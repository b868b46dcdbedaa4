"""Where traces come from: one file a platform, fetch (raw, resumable) and assemble (pure)."""
