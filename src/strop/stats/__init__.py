"""Intervals, clustered tests and sample sizes: arrays in, numbers out."""
