"""Where a cold start's time goes: measured, compared, and held against a budget."""
