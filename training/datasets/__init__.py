"""Sources of data sets: public ones, and synthetic ones whose right answer is known."""
