"""Signs in as a device with oauthlib: python oauthlib_device.py SERVICE CLIENT SCOPE

Prints the answer to the start on one line, and the answer with the token on the next.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
# Fewer permissions than asked for are a warning there, and no error.
os.environ["OAUTHLIB_RELAX_TOKEN_SCOPE"] = "1"

from oauthlib.oauth2 import DeviceClient, OAuth2Error  # noqa: E402
from oauthlib.oauth2.rfc8628.errors import AuthorizationPendingError, SlowDownError  # noqa: E402

service, client_id, scope = sys.argv[1:]


def post(url, body):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


with urllib.request.urlopen(service + "/.well-known/oauth-authorization-server") as answer:
    metadata = json.load(answer)
client = DeviceClient(client_id)
uri = client.prepare_request_uri(metadata["device_authorization_endpoint"], scope=[scope])
endpoint, query = uri.split("?", 1)
started = json.loads(post(endpoint, query))
print(json.dumps(started), flush=True)
interval = started["interval"]
while True:
    time.sleep(interval)
    body = client.prepare_request_body(started["device_code"], include_client_id=True)
    try:
        token = client.parse_request_body_response(post(metadata["token_endpoint"], body))
    except OAuth2Error as refused:
        # oauthlib raises the errors of this flow under a general type.
        if refused.error == SlowDownError.error:
            interval += 5
        elif refused.error != AuthorizationPendingError.error:
            raise
    else:
        print(json.dumps(token), flush=True)
        break
