"""Measurements of speed and memory; see README.md. No part of the distribution."""
