"""A minute of all abuses at once: the server, the hostile callers and the well-behaved one are processes of their own."""
