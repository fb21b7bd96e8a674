"""The online service: encodes incomplete items as they arrive and recommends them at once. No torch in here."""
