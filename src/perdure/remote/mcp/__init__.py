"""The tools by which a model looks at instances and steers them, over the Model Context Protocol; needs `mcp`."""

from perdure.remote.mcp.server import PATH, Access, http_app, mcp_server, serve_stdio

__all__ = ["PATH", "Access", "http_app", "mcp_server", "serve_stdio"]
