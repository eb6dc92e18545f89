"""What is shown of a refusal: the server's own words, and nothing of what it repeats."""

from __future__ import annotations

import pytest

from perago.http.refusals import message_of

SIGNATURE = "5f1ca9e7d0b84c63"
KEY_ID = "AKIAOFTHESTORE000000"

S3 = f"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The signature we calculated is another one.</Message>
<AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256 20261125</StringToSign>
<SignatureProvided>{SIGNATURE}</SignatureProvided>
<CanonicalRequest>GET /key X-Amz-Credential={KEY_ID}%2F20261125&amp;X-Amz-Expires=900</CanonicalRequest></Error>"""
GOOGLE = f"""<?xml version='1.0' encoding='UTF-8'?>
<Error><Code>SignatureDoesNotMatch</Code><Message>Access denied.</Message>
<Details>{SIGNATURE}</Details><StringToSign>GOOG4-RSA-SHA256</StringToSign></Error>"""
AZURE = f"""\ufeff<?xml version="1.0" encoding="utf-8"?>
<Error><Code>AuthenticationFailed</Code><Message>Server failed to
authenticate the request.</Message>
<AuthenticationErrorDetail>{SIGNATURE} is another</AuthenticationErrorDetail></Error>"""


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (S3, "The signature we calculated is another one. (SignatureDoesNotMatch)"),
        (GOOGLE, "Access denied. (SignatureDoesNotMatch)"),
        (AZURE, "Server failed to authenticate the request. (AuthenticationFailed)"),
        ('{"message": "no such branch"}', "no such branch"),
        ("<Error><Code>Odd</Code></Error>", "<Error><Code>Odd</Code></Error>"),
        ("", "no message"),
    ],
    ids=["S3", "Google", "Azure", "JSON", "other", "nothing"],
)
def test_a_refusal_is_told_in_the_servers_words(body, shown):
    assert message_of(body.encode()) == shown


@pytest.mark.parametrize(
    "body",
    [
        f'<a href="/bucket/key?X-Amz-Date=1&amp;X-Amz-Signature={SIGNATURE}">moved</a>',
        f"<p>GET /container/blob?sv=1&amp;sig={SIGNATURE} took too long</p>",
        f'{{"message": "GET /key?X-Amz-Date=1\\u0026X-Amz-Signature={SIGNATURE}"}}',
    ],
)
def test_a_url_that_a_proxy_repeats_keeps_its_signature_to_itself(body):
    assert SIGNATURE not in message_of(body.encode())
