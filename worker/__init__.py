"""Runs hardening jobs: claims them, supervises the child process that holds the model, settles them."""
