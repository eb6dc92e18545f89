"""Names of the credentials that Perago reads, as in the environment."""

from __future__ import annotations

LAKEFS_URL = "LAKECTL_SERVER_ENDPOINT_URL"
LAKEFS_KEY_ID = "LAKECTL_CREDENTIALS_ACCESS_KEY_ID"
LAKEFS_SECRET = "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"  # noqa: S105 - a name
LAKEFS_TOKEN = "LAKECTL_CREDENTIALS_SESSION_TOKEN"  # noqa: S105 - a name

CONDUCTOR_KEY = "CONDUCTOR_AUTH_KEY"
CONDUCTOR_SECRET = "CONDUCTOR_AUTH_SECRET"  # noqa: S105 - a name

CREDENTIALS = (LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_TOKEN, CONDUCTOR_KEY, CONDUCTOR_SECRET)
"""Variables that bodies do not see unless their task asks for them."""
