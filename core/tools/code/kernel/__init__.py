"""What runs inside the sandbox: these files import nothing of Ponte, and Ponte imports none."""
