"""The setup page (`/admin/setup`)."""
