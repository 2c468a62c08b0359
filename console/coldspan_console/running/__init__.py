"""`coldspan run`: a function, prepared and invoked on the local platform."""
