"""certmesh 3.0.38 (PyPI, MIT), its module providers/digicert_client.py, unchanged: the base URL is a setting.

Two things it asks of the service are its own mistakes, and are left out: it expects a ZIP archive of `pem_all`, which is
one PEM file (CertCentral glossary, certificate formats; Lemur and digicert-client read it as such), so that its download is
given a ZIP archive here; and it describes certificates with `GET /certificate/{id}`, which the API does not have.
"""

import io
import os
import sys
import types
import zipfile

import common
from common import KEY, ORGANIZATION, URL, certificates, csr, finish, issued, prove, step

os.environ["CM_DIGICERT_API_KEY"] = KEY
# Only a key in HashiCorp Vault would need it, and the real module imports half of the program.
sys.modules["certmesh.backends.vault_client"] = types.ModuleType("certmesh.backends.vault_client")
sys.modules["certmesh.backends"] = types.ModuleType("certmesh.backends")
sys.modules["certmesh.backends"].vault_client = sys.modules["certmesh.backends.vault_client"]

from certmesh.exceptions import DigiCertAPIError, DigiCertAuthenticationError, DigiCertOrderNotFoundError  # noqa: E402
from certmesh.providers import digicert_client as client  # noqa: E402

SETTINGS = {
    "base_url": URL,
    "tls_verify": False,
    "polling": {"interval_seconds": 1, "max_wait_seconds": 20},
    "retry": {"max_attempts": 1},
}

taken_apart = client._extract_pem_from_zip


def zipped(pem_all):
    """What the client expects, made of what the service gives."""
    leaf, *chain = certificates(pem_all)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for name, one in [("certificate.pem", leaf), *(("chain.pem", one) for one in chain[:1])]:
            files.writestr(name, one.public_bytes(common.serialization.Encoding.PEM))
    return taken_apart(archive.getvalue())


client._extract_pem_from_zip = zipped

prove("example.com")

with step("order, poll, download"):
    order = client.OrderRequest(
        common_name="mesh.example.com",
        san_dns_names=["mesh.example.com", "www.mesh.example.com"],
        product_name_id="ssl_plus",
        organization_id=ORGANIZATION,
        key_size=2048,
        dcv_method="dns-txt-token",
        comments="certmesh",
    )
    bundle = client.order_and_await_certificate(SETTINGS, {}, None, order)
    (leaf,) = certificates(bundle.certificate_pem)
    assert common.names_of(leaf) == ["mesh.example.com", "www.mesh.example.com"], common.names_of(leaf)
    assert bundle.common_name == "mesh.example.com"

with step("order of a number of days"):
    order = client.OrderRequest(
        common_name="days.example.com", product_name_id="ssl_basic", organization_id=ORGANIZATION, key_size=2048,
        validity_days=90,
    )  # fmt: skip
    bundle = client.order_and_await_certificate(SETTINGS, {}, None, order)
    assert bundle.common_name == "days.example.com"

with step("list of issued certificates"):
    listed = client.list_issued_certificates(SETTINGS, {}, None, status="issued", page_size=1)
    assert sorted(one.common_name for one in listed) == ["days.example.com", "mesh.example.com"], listed
    for one in listed:
        assert one.certificate_id and one.order_id and one.status is not None and one.product_name, one
        client._parse_digicert_date(one.valid_till)

with step("search by common name and by serial number"):
    (found,) = client.search_certificates(SETTINGS, {}, None, common_name="mesh.example.com")
    listed = client.search_certificates(SETTINGS, {}, None, serial_number=format(leaf.serial_number, "032X"))
    assert [one.order_id for one in listed] == [found.order_id], listed

with step("duplicate"):
    pem, _ = csr("mesh.example.com")
    answer = client.duplicate_certificate(
        SETTINGS, {}, None, found.order_id, pem,
        common_name="mesh.example.com", san_dns_names=["mesh.example.com", "www.mesh.example.com"],
    )  # fmt: skip
    assert answer["id"] == found.order_id, answer

with step("revocation by certificate, and by order"):
    answer = client.revoke_certificate(SETTINGS, {}, None, certificate_id=found.certificate_id, reason="superseded")
    assert answer == {"status": "revoked", "certificate_id": found.certificate_id}, answer
    other = next(one for one in client.search_certificates(SETTINGS, {}, None, common_name="days.example.com"))
    assert issued(other.order_id)
    answer = client.revoke_certificate(SETTINGS, {}, None, order_id=other.order_id, comments="no longer needed")
    assert answer["certificate_id"] == other.certificate_id, answer

with step("errors are told apart"):
    try:
        client.revoke_certificate(SETTINGS, {}, None, order_id=1)
        raise AssertionError("order 1 was found")
    except DigiCertOrderNotFoundError:
        pass
    try:
        client.order_and_await_certificate(SETTINGS, {}, None, client.OrderRequest(common_name="localhost", key_size=2048))
        raise AssertionError("localhost was taken")
    except DigiCertAPIError as error:
        assert error.status_code == 400, error
    os.environ["CM_DIGICERT_API_KEY"] = "nobody's"
    try:
        client.list_issued_certificates(SETTINGS, {}, None)
        raise AssertionError("nobody's key was taken")
    except DigiCertAuthenticationError:
        pass

finish()
