"""Verdicts, distances and speed of our attacks beside the libraries people use."""
