# The environments of the real clients: five, because three of the clients share the import name `binance`.
clients::
	@$(BIN)/python -m tests.clients.environments
