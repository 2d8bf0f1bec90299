"""The platforms that people reach Ponte on; each package exports its face."""
