"""`coldspan doctor`: why a function does not record, and what would go wrong."""
