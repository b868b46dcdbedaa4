"""What runs the loop's steps: a protocol, and DBOS embedded on SQLite behind it."""
