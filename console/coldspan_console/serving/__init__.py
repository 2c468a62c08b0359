"""`coldspan local`: a template's functions, served."""
