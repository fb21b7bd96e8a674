"""Implementations of the ports. Each third-party engine has exactly one importer in here."""
