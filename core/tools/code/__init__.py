"""Python that a model or a person has run, here in a sandbox or hosted by OpenAI."""
