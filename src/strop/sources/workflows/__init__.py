"""Durable workflows: Temporal, Restate, Inngest, DBOS."""
