"""Setup from the page: what can be set there, where it is stored, and how it takes effect."""
