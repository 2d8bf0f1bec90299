"""Sign-in with Slack or any other OpenID Connect provider."""
