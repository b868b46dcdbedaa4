"""Any SQL query, with its columns mapped."""
