"""Event files: what they hold, and how data from elsewhere becomes one."""
