"""digicert-client 1.1.5 (PyPI, MIT), DigiCert's own library, of 2015 and in Python 2: its sources are read with the five words
changed that Python 3 writes otherwise, and with a plain connection to the sandbox.
"""

import http.client
import importlib.abc
import importlib.util
import sys

import common
from common import HOST, KEY, call, certificates, csr, finish, issued, prove, step

WORDS = [
    ("from urllib import urlencode", "from urllib.parse import urlencode"),
    ("from httplib import", "from http.client import"),
    ("'http_reason': reason}.items() + response.items())", "'http_reason': reason} | response)"),
    ("response_data = conn_rsp.read()", "response_data = conn_rsp.read().decode('latin-1')"),
]


class Translated(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finds digicert_client where pip has put it, and gives its sources in today's words."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] != "digicert_client":
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        folder = found.submodule_search_locations
        return importlib.util.spec_from_file_location(name, found.origin, loader=self, submodule_search_locations=folder)

    def get_filename(self, name):
        return sys.modules[name].__spec__.origin

    def get_data(self, path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for old, new in WORDS:
            text = text.replace(old, new)
        return text.encode()

    def path_stats(self, path):
        raise OSError("nothing of this is cached")


sys.meta_path.insert(0, Translated())

from digicert_client import CertificateOrder  # noqa: E402


def library():
    """Its door, with a connection of its own."""
    server = HOST.removeprefix("http://")
    return CertificateOrder(server, KEY, conn=http.client.HTTPConnection(server, timeout=20))


organization = call("GET", f"/organization/{common.ORGANIZATION}", status=200).json()
contact = organization["organization_contact"]
ABOUT = {
    "org_name": organization["name"],
    "org_addr1": organization["address"],
    "org_city": organization["city"],
    "org_state": organization["state"],
    "org_zip": organization["zip"],
    "org_country": organization["country"],
    "org_contact_firstname": contact["first_name"],
    "org_contact_lastname": contact["last_name"],
    "org_contact_email": contact["email"],
    "org_contact_telephone": contact["telephone"],
    "org_contact_job_title": contact["job_title"],
}

prove("example.com")

with step("place: my user, the organizations and domains of its division, then the order"):
    pem, _ = csr("example.com")
    placed = library().place(certificate_type="sslplus", csr=pem, validity=1, common_name="example.com", **ABOUT)
    assert placed["http_status"] == 201, placed
    assert placed["requests"][0]["id"], placed

with step("place: no such organization"):
    nobody = library().place(certificate_type="sslplus", csr=pem, validity=1, common_name="example.com",
                             **{**ABOUT, "org_name": "Nobody"})  # fmt: skip
    assert nobody["response"] == "No matching organization found", nobody

with step("view"):
    order = placed["id"]
    common.approve(order)
    issued(order)
    viewed = library().view(digicert_order_id=order)
    assert viewed["http_status"] == 200 and viewed["status"] == "issued", viewed
    assert viewed["certificate"]["common_name"] == "example.com", viewed

with step("view all"):
    listed = library().view_all()
    assert [one["id"] for one in listed["orders"]] == [order], listed

with step("download by order, as a PEM file of three"):
    downloaded = library().download(digicert_order_id=order)
    parts = downloaded["certificates"]
    leaf, intermediate, root = (certificates(parts[part])[0] for part in ("certificate", "intermediate", "root"))
    assert leaf.issuer == intermediate.subject and intermediate.issuer == root.subject == root.issuer

with step("duplicate: order, list, download by its sub id"):
    pem, _ = csr("example.com")
    wanted = {"common_name": "example.com", "csr": pem, "signature_hash": "sha256", "dns_names": ["example.com"],
              "server_platform": {"id": 2}}  # fmt: skip
    created = library().create_duplicate(digicert_order_id=order, certificate=wanted)
    assert created["id"] == order, created
    common.approve(order)
    (duplicate,) = library().list_duplicates(digicert_order_id=order)
    assert duplicate["sub_id"], duplicate
    first, *_ = library().download_duplicate(digicert_order_id=order, sub_id=duplicate["sub_id"])
    (found,) = certificates(first)
    assert format(found.serial_number, "X").zfill(32) == duplicate["serial_number"].upper().zfill(32), duplicate

with step("CSR of a pending order is replaced"):
    pem, _ = csr("pending.example.net")
    body = {
        "certificate": {"common_name": "pending.example.net", "csr": pem, "signature_hash": "sha256"},
        "organization": {"id": common.ORGANIZATION},
        "validity_years": 1,
    }
    waiting = call("POST", "/order/certificate/ssl_plus", body, 201).json()["id"]
    other, _ = csr("pending.example.net")
    uploaded = library().upload_csr(digicert_order_id=waiting, csr_text=other)
    assert uploaded["http_status"] == 204, uploaded
    shown = call("GET", f"/order/certificate/{waiting}").json()["certificate"]["csr"]
    assert shown.strip() == other.strip(), shown

with step("failures carry the service's code and words"):
    missing = library().view(digicert_order_id=1)
    assert missing["http_status"] == 404 and missing["errors"][0]["code"] and missing["errors"][0]["message"], missing

finish()
