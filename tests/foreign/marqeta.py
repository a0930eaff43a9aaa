"""marqeta/go-digicert (GitHub, MIT; Go): what it sends (digicert/digicert.go, orders.go, certificates.go, organizations.go,
products.go, users.go), and its structs as encoding/json fills them.
"""

from common import ORGANIZATION, TIME, call, certificates, csr, finish, go, prove, step

CONTAINER = {"id": int, "public_id": str, "name": str, "parent_id": int, "template_id": int}
PERSON = {"id": int, "first_name": str, "last_name": str}
ORGANIZATION_ = {
    "id": int, "status": str, "name": str, "assumed_name": str, "display_name": str, "is_active": bool, "address": str,
    "address2": str, "zip": str, "city": str, "state": str, "country": str, "telephone": str, "container": CONTAINER,
    "validations": [{
        "type": str, "name": str, "description": str, "date_created": TIME, "validated_until": TIME, "status": str,
        "verified_users": [PERSON],
    }],
    "ev_approvers": [PERSON],
}  # fmt: skip
CERTIFICATE = {
    "id": int, "common_name": str, "dns_names": [str], "csr": str, "organization_units": [str],
    "server_platform": {"id": int}, "signature_hash": str, "profile_option": str, "thumbprint": str, "serial_number": str,
}  # fmt: skip
ORDER = {
    "id": int, "certificate": CERTIFICATE, "validity_years": int, "custom_expiration_date": str, "comments": str,
    "disable_renewal_notifications": bool, "renewal_of_order_id": int, "payment_method": str, "status": str,
    "organization": ORGANIZATION_, "requests": [{"id": int, "status": str}], "certificate_id": int,
}  # fmt: skip
USER = {
    "id": int, "username": str, "account_id": int, "first_name": str, "last_name": str, "email": str, "job_title": str,
    "telephone": str, "status": str, "last_login_date": str, "is_cert_central": bool, "is_enterprise": bool,
    "is_saml_sso_only": bool, "type": str, "has_container_assignments": bool,
    "access_roles": [{"id": int, "name": str}], "container": CONTAINER, "container_id_assignments": [int],
}  # fmt: skip
PRODUCT = {
    "GroupName": str, "name_id": str, "name": str, "type": str, "allowed_container_ids": [int],
    "allowed_validity_years": [int],
}  # fmt: skip

prove("example.com")

with step("me, and all users"):
    me = go(call("GET", "/user/me", status=200).json(), USER)
    assert me["id"] and me["username"] and me["access_roles"], me
    users = go(call("GET", "/user", status=200).json(), {"users": [USER]})["users"]
    assert me["id"] in [one["id"] for one in users], users

with step("organizations and products"):
    go(call("GET", "/organization", status=200).json(), {"organizations": [ORGANIZATION_]})
    go(call("GET", f"/organization/{ORGANIZATION}", status=200).json(), ORGANIZATION_)
    assert go(call("GET", "/product", status=200).json(), {"products": [PRODUCT]})["products"]

with step("new order: zero values of fields without omitempty are sent"):
    pem, _ = csr("marqeta.example.com")
    body = {
        "certificate": {
            "common_name": "marqeta.example.com",
            "dns_names": ["marqeta.example.com"],
            "csr": pem,
            "organization_units": ["Certificate Factory"],
            "server_platform": {"id": -1},
            "signature_hash": "sha256",
        },
        "validity_years": 1,
        "disable_renewal_notifications": False,
        "payment_method": "balance",
        "skip_approval": False,
        "disable_ct": False,
        "organization": {"id": ORGANIZATION, "contacts": None},
        "container": {"id": 0},
    }
    placed = go(call("POST", "/order/certificate/ssl_plus", body, 201).json(), ORDER)
    assert placed["id"] and placed["requests"], placed

with step("order and orders"):
    shown = go(call("GET", f"/order/certificate/{placed['id']}", status=200).json(), ORDER)
    assert shown["status"] == "issued", shown["status"]
    listed = go(call("GET", "/order/certificate", status=200).json(), {"orders": [ORDER]})["orders"]
    assert [one["id"] for one in listed] == [placed["id"]], listed

with step("PEM bundle"):
    data = call("GET", f"/certificate/{shown['certificate']['id']}/chain", status=200).json()
    bundle = go(data, {"intermediates": [{"subject_common_name": str, "pem": str}]})["intermediates"]
    assert all(one["subject_common_name"] and len(certificates(one["pem"])) == 1 for one in bundle), bundle

finish()
