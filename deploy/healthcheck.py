"""Whether the server in this container answers: exit code 0 if so, else 1. It needs nothing but Python."""

import os
import ssl
import sys
import urllib.request

SECONDS = 4.0
PATH = "/v1.0/healthz/live"


def main() -> int:
    """Ask once, at the address and in the way that the variables of `perdure serve` say."""
    port = os.environ.get("DAPR_HTTP_PORT") or "3500"
    is_secure = bool(os.environ.get("PERDURE_TLS_CERT"))
    try:
        with _opener(is_secure).open(f"{'https' if is_secure else 'http'}://127.0.0.1:{port}{PATH}", timeout=SECONDS):
            return 0
    except OSError as error:  # URLError is one
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError | ConnectionResetError) and os.environ.get("PERDURE_CLIENT_CA"):
            return 0  # because who turns away a caller without a certificate has answered
        print(reason, file=sys.stderr)
        return 1


def _opener(is_secure: bool) -> urllib.request.OpenerDirector:
    direct = urllib.request.ProxyHandler({})  # because a proxy of the machine does not lead into this container
    if not is_secure:
        return urllib.request.build_opener(direct)
    context = ssl.create_default_context()
    # the certificate is for the name under which others call, and this is no caller that tells a secret
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))


if __name__ == "__main__":
    sys.exit(main())
