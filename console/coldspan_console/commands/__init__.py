"""One module a sub-command; cli.COMMANDS names them."""
