"""Forty graders, twenty of them flawed on purpose, and the worlds they grade in."""
