"""Hypothesis draws the same examples in every run, and a loaded machine is no failure."""

from hypothesis import settings

settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")
