"""How fast Perdure is, measured beside the least that any such engine must do on the same machine."""
