"""Venafi's DigiCert CA connector (GitHub Venafi/digicert-ca-connector; Go): what it sends (internal/app/service/rest.go,
certificate.go, options.go, connect.go), and its structs as encoding/json fills them. Anything but 200, 201 and 202 is a failure
to it.
"""

import datetime

from common import ORGANIZATION, call, certificates, csr, finish, go, issued, prove, step


def execute(method, path, body=None):
    answer = call(method, path, body)
    assert answer.status_code in (200, 201, 202), (answer.status_code, answer.text[:300])
    return answer


prove("example.com")

with step("connection and options"):
    shape = {"organizations": [{"id": int, "name": str, "status": str, "is_active": bool}]}
    organizations = go(execute("GET", "/organization").json(), shape)["organizations"]
    assert ORGANIZATION in [one["id"] for one in organizations if one["is_active"]], organizations
    hashes = {"allowed_hash_types": [{"id": str, "name": str}], "default_hash_type_id": str}
    product = {"signature_hash_types": hashes, "type": str, "name": str, "name_id": str}
    products = go(execute("GET", "/product").json(), {"products": [product]})["products"]
    chosen = next(one for one in products if one["name_id"] == "ssl_basic" and one["type"] == "ssl_certificate")
    assert "sha256" in [one["id"] for one in chosen["signature_hash_types"]["allowed_hash_types"]], chosen

with step("certificate requested: the CSR is in PEM and in one line"):
    pem, _ = csr("venafi.example.com")
    body = {
        "certificate": {
            "common_name": "venafi.example.com",
            "dns_names": ["venafi.example.com"],
            "csr": pem.replace("\n", ""),
            "server_platform": {"id": -1},
            "signature_hash": "sha256",
            "cs_provisioning_method": "",
        },
        "organization": {"id": ORGANIZATION},
        "custom_expiration_date": (datetime.date.today() + datetime.timedelta(days=90)).isoformat(),
    }
    shape = {"id": int, "certificate_id": int, "certificate_chain": [{"pem": str}]}
    placed = go(execute("POST", "/order/certificate/ssl_basic", body).json(), shape)
    assert placed["id"], placed

with step("order followed"):
    shape = {"id": int, "status": str, "certificate": {"id": int, "valid_till": str}}
    order = go(issued(placed["id"]), shape)

with step("certificate fetched"):
    text = execute("GET", f"/certificate/{order['certificate']['id']}/download/format/pem_all").text
    assert len(certificates(text)) == 3

with step("import: issued certificates of a product, page by page"):
    page = {"total": int, "limit": int, "offset": int}
    path = "/order/certificate?filters[product_name_id]=ssl_basic&filters[status]=issued&limit=1&offset=0&sort=order_id"
    found = go(execute("GET", path).json(), {"orders": [shape], "page": page})
    assert found["page"]["offset"] + len(found["orders"]) == found["page"]["total"] == 1, found
    datetime.date.fromisoformat(found["orders"][0]["certificate"]["valid_till"])

with step("revocation by serial number is submitted"):
    serial = format(certificates(text)[0].serial_number, "X").zfill(32)
    body = {"reason": "superseded", "comment": ""}
    answer = go(execute("PUT", f"/certificate/{serial}/revoke", body).json(), {"id": int, "status": str})
    assert answer["status"] == "submitted", answer

finish()
