"""The report's faces, rendered from its value alone by a process that never held the uploaded model."""
