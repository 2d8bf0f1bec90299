"""Questions of tables that run again without a model."""
