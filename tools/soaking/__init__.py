"""The soak test: a run that is killed again and again must end with the same bits as an uninterrupted one."""
