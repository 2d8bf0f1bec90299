"""NocoDB itself, over its REST API: v3 for rows and schema, v2 where there is no v3."""
