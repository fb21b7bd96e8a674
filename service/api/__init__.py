"""The HTTP side: schemas, routes, and the table of problems. Knows the use cases, no adapter."""
