"""The files of other AI clients: the servers they name are taken over, and broker is registered in them."""
