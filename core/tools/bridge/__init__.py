"""NocoDB through a small server of the user's own: `POST {url}/execute`."""
