"""Python hosted by OpenAI: a container for each conversation."""
