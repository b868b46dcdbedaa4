"""What all tracing has in common: spans of every convention -> one trace."""
