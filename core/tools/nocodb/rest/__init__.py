"""NocoDB over HTTP: its calls, what they give, what goes wrong."""
