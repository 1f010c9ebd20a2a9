"""The process that holds the uploaded model: the only part of the worker that knows torch and the method."""
