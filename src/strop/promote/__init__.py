"""Comparison, gate, cost, registry and the report that one hands to the boss."""
