"""The black box: the external extension that outlives a kill."""
