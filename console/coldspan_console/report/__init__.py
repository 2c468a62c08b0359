"""The report: what is in the store, as one page that needs no network."""
