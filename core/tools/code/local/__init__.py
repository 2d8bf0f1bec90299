"""Python on this machine: a kernel for each conversation, in a sandbox."""
