"""What DigiCert's Express Install sends and asks (PyPI digicert-express 1.0, Apache-2.0, digicert_express.py: get_issued_orders,
get_order, create_duplicate, approve_request, get_duplicates, download_cert; Python 2, and it would install into a web server).
"""

from common import ORGANIZATION, call, certificates, csr, finish, issued, prove, step

prove("example.com")
pem, _ = csr("express.example.com")
body = {
    "certificate": {"common_name": "express.example.com", "csr": pem, "signature_hash": "sha256"},
    "organization": {"id": ORGANIZATION},
    "validity_years": 1,
    "skip_approval": True,
}
placed = call("POST", "/order/certificate/ssl_plus", body, 201).json()["id"]
issued(placed)

with step("issued orders, by one of their names"):
    data = call("GET", "/order/certificate?filters[status]=issued", status=200).json()
    found = [one for one in data.get("orders", []) if "express.example.com" in one["certificate"]["dns_names"]]
    (order,) = found
    assert order["certificate"]["valid_till"] and order["certificate"]["common_name"], order

with step("one order; duplicates are allowed"):
    order = call("GET", f"/order/certificate/{order['id']}", status=200).json()
    assert order["allow_duplicates"] == 1, order["allow_duplicates"]
    assert order["certificate"]["id"], order
    for field in ("country", "state", "city", "name"):
        assert order["organization"][field].replace(",", ""), field

with step("duplicate, approved by its request"):
    pem, _ = csr("express.example.com")
    wanted = {key: order["certificate"][key] for key in ("common_name", "signature_hash", "dns_names")}
    wanted |= {"csr": pem, "server_platform": {"id": 2}}
    data = call("POST", f"/order/certificate/{order['id']}/duplicate", {"certificate": wanted}, 201).json()
    request = data["requests"][0]["id"]
    comment = "Automatically approved by Express Install"
    call("PUT", f"/request/{request}/status", {"status": "approved", "processor_comment": comment}, 204)

with step("newest duplicate first, with all that a download needs"):
    duplicates = call("GET", f"/order/certificate/{order['id']}/duplicate", status=200).json()
    newest = duplicates["certificates"][0]
    assert newest["sub_id"] and newest["id"], newest

with step("download of the duplicate"):
    certs = call("GET", f"/certificate/{newest['id']}/download/format/pem_all", status=200).text.split("-----BEGIN")
    assert certs[0].strip() == "" and len(certs) == 4, certs
    assert [len(certificates(f"-----BEGIN{one}")) for one in certs[1:]] == [1, 1, 1]

with step("download by order and format in the query"):
    data = call("GET", f"/certificate/download/order/{order['id']}?format_type=pem_all", status=200).text
    assert data.startswith("-----BEGIN CERTIFICATE-----") and len(data.split("-----BEGIN")) == 4, data[:60]

finish()
