"""Alerts leave the house: a child process for each message, with a deadline."""

from adwatch.edges.alerts.sender import Answer, Errand, Target

__all__ = ["Answer", "Errand", "Target"]
