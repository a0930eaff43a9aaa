"""Infisical (GitHub Infisical/infisical, backend/src/services/certificate-authority/digicert; TypeScript): what its client sends
(digicert-api-client.ts, its two ages) and what it takes from the answers (digicert-certificate-authority-types.ts). It asks for the
order again after each check, and finds a placement whose answer was lost by its alternative id.
"""

from common import ORGANIZATION, call, certificates, csr, finish, place_txt, step


def order_of(pem, *names, **more):
    return {
        "certificate": {"common_name": names[0], "dns_names": list(names), "csr": pem, "signature_hash": "sha256"},
        "organization": {"id": ORGANIZATION},
        "order_validity": {"days": 90},
        "dcv_method": "dns-txt-token",
        "skip_approval": True,
        **more,
    }


with step("is the organization validated?"):
    validations = call("GET", f"/organization/{ORGANIZATION}/validation", status=200).json()["validations"]
    (ov,) = [one for one in validations if one["type"] == "ov"]
    assert ov["status"] == "active" and ov["validated_until"], ov

with step("order placed: a value for all of its domains"):
    pem, _ = csr("inf.example.com", "inf.example.net")
    body = order_of(pem, "inf.example.com", "inf.example.net", alternative_order_id="infisical-1")
    placed = call("POST", "/order/certificate/ssl_basic", body, 201).json()
    value = placed["dcv_random_value"]
    assert isinstance(placed["id"], int) and len(placed["domains"]) == 2, placed

with step("not yet: check and order say so"):
    checked = call("PUT", f"/order/certificate/{placed['id']}/check-dcv", data="null", status=200).json()
    assert checked["order_status"] == "pending", checked
    assert [one["status"] for one in checked["dns_name_validations"] if one["status"] == "approved"] == [], checked
    order = call("GET", f"/order/certificate/{placed['id']}", status=200).json()
    assert order["status"] == "pending" and order["dcv_method"] == "dns-txt-token", order

with step("lost placement found by its own id; another is not there"):
    found = call("GET", "/order/alternate/infisical-1", status=200).json()
    assert [one["order_id"] for one in found["orders"]] == [placed["id"]], found
    answer = call("GET", "/order/alternate/infisical-2")
    assert answer.status_code == 404 or answer.json().get("orders") == [], answer.text

with step("proof at the domains' own names, then issued"):
    for domain in ("example.com", "example.net"):
        place_txt(domain, value)
    checked = call("PUT", f"/order/certificate/{placed['id']}/check-dcv", data="null", status=200).json()
    assert checked["order_status"] == "issued" and checked["dcv_status"] == "valid", checked
    assert {one["dns_name"] for one in checked["dns_name_validations"]}, checked
    order = call("GET", f"/order/certificate/{placed['id']}", status=200).json()
    assert order["certificate"]["id"] == checked["certificate_id"], order

with step("status changes of the last seconds"):
    changes = call("GET", "/order/certificate/status-changes?seconds=60", status=200).json()
    assert {"order_id": placed["id"], "certificate_id": order["certificate"]["id"], "status": "issued"} in changes["orders"]

with step("certificate"):
    path = f"/certificate/{order['certificate']['id']}/download/format/pem_all"
    assert len(certificates(call("GET", path, status=200).text)) == 3

with step("renewal: a new order that names the old one"):
    pem, _ = csr("inf.example.com", "inf.example.net")
    body = order_of(pem, "inf.example.com", "inf.example.net", renewal_of_order_id=placed["id"])
    renewed = call("POST", "/order/certificate/ssl_basic", body, 201).json()
    assert renewed["id"] != placed["id"] and renewed["certificate_id"], renewed

with step("revocation of the order: the answer's body does not matter"):
    answer = call("PUT", f"/order/certificate/{placed['id']}/revoke", {"comments": "revoked"})
    assert answer.status_code in (201, 204), answer.text

finish()
