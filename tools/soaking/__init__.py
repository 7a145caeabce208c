"""A run that is killed again and again, and must end with the bits of a straight one."""
