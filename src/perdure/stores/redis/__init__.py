"""The store on Redis or Valkey: scripts in Lua that a server runs as a whole, and the client that calls them."""
