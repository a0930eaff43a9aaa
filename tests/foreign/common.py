"""What all scripts of this folder share: the sandbox to talk to, proofs in its DNS, keys, and the readers that other
languages put between an answer and their programs.

A script drives one client that somebody else wrote for the CertCentral Services API, or sends what that client sends and
asks of the answers what that client asks. Its steps are tried one after the other; all that fail are told at the end.
"""

import contextlib
import datetime
import json
import os
import re
import sys
import time
import traceback

import dns.name
import dns.query
import dns.tsigkeyring
import dns.update
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

URL = os.environ["CERTCENTRAL_URL"]
"""Base URL of the API, with /services/v2."""
HOST = URL.removesuffix("/services/v2")
KEY = os.environ["CERTCENTRAL_KEY"]
ORGANIZATION = int(os.environ["CERTCENTRAL_ORGANIZATION"])

_failures = []


@contextlib.contextmanager
def step(what):
    """One thing that a client does. A failure is kept for the end, and the next step is tried."""
    try:
        yield
    except Exception as error:  # whatever a foreign client raises
        where = traceback.extract_tb(error.__traceback__)[-1]
        _failures.append(what)
        print(f"FAIL {what}: {type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})")
    else:
        print(f"ok   {what}")


def finish():
    """Ends the script; 1 when a step failed."""
    sys.exit(1 if _failures else 0)


def call(method, path, body=None, status=None, headers=None, data=None):
    """One request as most clients send it, and its answer; with `status`, that one is asked for."""
    sent = {"X-DC-DEVKEY": KEY, "Content-Type": "application/json", **(headers or {})}
    data = json.dumps(body) if body is not None else data
    answer = requests.request(method, URL + path, data=data, headers=sent, timeout=20)
    if status is not None and answer.status_code != status:
        raise AssertionError(f"{method} {path}: {answer.status_code} instead of {status}: {answer.text[:300]}")
    return answer


def place_txt(name, value):
    """Puts a TXT record into the sandbox's DNS."""
    host, port = os.environ["DNS_SERVER"].rsplit(":", 1)
    key = dns.tsigkeyring.from_text({os.environ["TSIG_NAME"]: os.environ["TSIG_SECRET"]})
    zone = ".".join(name.split(".")[-2:])
    update = dns.update.UpdateMessage(zone, keyring=key, keyalgorithm="hmac-sha256")
    update.add(dns.name.from_text(name), 60, "TXT", f'"{value}"')
    answer = dns.query.tcp(update, host, port=int(port), timeout=10)
    assert answer.rcode() == 0, answer


def prove(domain):
    """Adds a domain to the account and proves it, so that orders for it are issued at once. Gives its id."""
    body = {
        "name": domain,
        "organization": {"id": ORGANIZATION},
        "validations": [{"type": "ov"}],
        "dcv_method": "dns-txt-token",
    }
    added = call("POST", "/domain", body, 201).json()
    place_txt(f"_dnsauth.{domain}", added["dcv_token"]["token"])
    call("PUT", f"/domain/{added['id']}/dcv/validate-token", status=200)
    return added["id"]


def approve(order):
    """Approves what waits for approval in an order."""
    for request in call("GET", f"/order/certificate/{order}", status=200).json()["requests"]:
        if request["status"] in ("pending", "submitted"):
            call("PUT", f"/request/{request['id']}/status", {"status": "approved", "processor_comment": "yes"}, 204)


def issued(order):
    """Waits until an order is issued and gives the answer that says so."""
    for _ in range(100):
        info = call("GET", f"/order/certificate/{order}", status=200).json()
        if info["status"] == "issued":
            return info
        time.sleep(0.1)
    raise AssertionError(f"order {order} is {info['status']}")


def csr(*names):
    """A CSR in PEM, and its key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(alternatives, False)
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, key.private_bytes(*plain).decode()


def certificates(pem):
    """The certificates of a PEM file, in their order."""
    return x509.load_pem_x509_certificates(pem.encode() if isinstance(pem, str) else pem)


def names_of(certificate):
    """The DNS names of a certificate."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


def is_root(certificate):
    return certificate.subject == certificate.issuer


TIME = "a time"
"""Go's time.Time, C#'s DateTime."""


def go(value, shape, at="$"):
    """Reads `value` as Go's encoding/json reads it into a struct of that shape: what is absent or null stays as it is, and
    everything else must be of the type that is written there. Gives `value`."""
    if value is None:
        return value
    if isinstance(shape, dict):
        expect(isinstance(value, dict), at, value, "an object")
        for name, inner in shape.items():
            # encoding/json takes names in any case.
            for key in (key for key in value if key.lower() == name.lower()):
                go(value[key], inner, f"{at}.{key}")
    elif isinstance(shape, list):
        expect(isinstance(value, list), at, value, "a list")
        for number, item in enumerate(value):
            go(item, shape[0], f"{at}[{number}]")
    elif shape is TIME:
        rfc3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
        expect(isinstance(value, str) and re.fullmatch(rfc3339, value), at, value, "a time of RFC 3339")
    elif shape is int:
        expect(isinstance(value, int) and not isinstance(value, bool), at, value, "an integer")
    else:
        expect(isinstance(value, shape), at, value, shape.__name__)
    return value


def newtonsoft(value, shape, at="$"):
    """Reads `value` as Json.NET reads it into a class of that shape: texts take numbers and booleans, numbers take their
    text, booleans take numbers and "true", value types do not take null; what is absent stays as it is. Gives `value`."""
    if isinstance(shape, dict):
        expect(value is None or isinstance(value, dict), at, value, "an object")
        for name, inner in shape.items():
            if value is not None and name in value:
                newtonsoft(value[name], inner, f"{at}.{name}")
    elif isinstance(shape, list):
        expect(value is None or isinstance(value, list), at, value, "a list")
        for number, item in enumerate(value or []):
            newtonsoft(item, shape[0], f"{at}[{number}]")
    elif shape is TIME:
        try:
            datetime.datetime.fromisoformat(value)
        except (TypeError, ValueError):
            expect(False, at, value, "a date")
    elif shape is str:
        expect(not isinstance(value, (dict, list)), at, value, "text")
    elif shape is bool:
        text = isinstance(value, str) and value.lower() in ("true", "false")
        expect(text or isinstance(value, (bool, int)), at, value, "a boolean")
    else:
        text = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
        expect(text or isinstance(value, (int, float)), at, value, "a number")
    return value


def expect(condition, at, value, wanted):
    if not condition:
        raise AssertionError(f"{at} is {json.dumps(value)[:120]}, {wanted} is needed")
