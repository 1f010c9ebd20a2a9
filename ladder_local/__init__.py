"""The whole stack on one machine without Docker: real servers from their wheels, the API and the workers."""
