"""Folders of recordings: what is in them, what it is known by, and work on all of it."""
