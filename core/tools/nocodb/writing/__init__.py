"""The tools that propose, and what does the writes that were approved."""
