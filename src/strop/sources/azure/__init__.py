"""Azure Monitor and AI Foundry: Application Insights tables."""
