"""The set-up page (`/admin/setup`)."""
