"""The way of an upload from the socket to the object store, a few parts in memory at a time."""
