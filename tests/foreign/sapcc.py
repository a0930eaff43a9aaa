"""sapcc/go-certcentral and the cert-manager issuer upon it, sapcc/digicert-issuer (GitHub, Apache-2.0; Go): what they send
(order.go, certificate.go, organization.go, product.go; pkg/provisioners/certcentral.go), and their structs as encoding/json
fills them (certificate.go, domain.go, organization.go, user.go, validation.go, container.go, status.go).
"""

import re

import common
from common import KEY, ORGANIZATION, TIME, call, certificates, csr, finish, go, prove, step

HEADERS = {"User-Agent": "github.com/sapcc/go-certcentral", "Accept": "application/json"}

USER = {
    "id": int, "first_name": str, "last_name": str, "email": str, "job_title": str, "telephone": str, "name": str,
    "contact_type": str,
}  # fmt: skip
CONTAINER = {"id": int, "name": str, "is_active": bool}
VALIDATION = {
    "type": str, "name": str, "description": str, "date_created": TIME, "validated_until": TIME, "status": str,
    "dcv_status": str, "verified_users": [USER],
}  # fmt: skip
ORGANIZATION_ = {
    "id": int, "status": str, "name": str, "assumed_name": str, "display_name": str, "is_active": bool, "address": str,
    "address2": str, "city": str, "state": str, "zip": str, "country": str, "telephone": str, "container": CONTAINER,
    "validations": [VALIDATION], "ev_approvers": [USER], "organization_contact": USER, "contacts": [USER],
}  # fmt: skip
PLATFORM = {"id": int, "name": str, "install_url": str, "csr_url": str}
CERTIFICATE = {
    "common_name": str, "dns_names": [str], "csr": str, "server_platform": PLATFORM, "signature_hash": str,
    "ca_cert_id": str, "organization_units": [str], "organization": ORGANIZATION_, "profile_option": str, "id": int,
    "thumbprint": str, "serial_number": str, "date_created": TIME, "valid_from": str, "valid_till": str, "key_size": int,
    "ca_cert": {"id": str, "name": str},
}  # fmt: skip
PRODUCT = {
    "group_name": str, "name_id": str, "name": str, "type": str, "validation_type": str, "validation_name": str,
    "validation_description": str,
}  # fmt: skip
DOMAIN = {"id": int, "name": str, "is_active": bool, "date_created": TIME, "validations": [VALIDATION],
          "container": CONTAINER}  # fmt: skip
CHAIN = [{"subject_common_name": str, "pem": str}]
ORDER = {
    "certificate": CERTIFICATE, "organization": ORGANIZATION_, "validity_years": int, "custom_expiration_date": str,
    "comments": str, "processor_comment": str, "disable_renewal_notifications": bool, "renewal_of_order_id": int,
    "payment_method": str, "skip_approval": bool, "product": PRODUCT, "organization_contact": USER,
    "technical_contact": USER, "user": USER, "cs_provisioning_method": str, "disable_ct": bool,
    "requests": [{"id": int, "date": TIME, "type": str, "status": str, "comments": str}], "id": int, "domains": [DOMAIN],
    "certificate_id": int, "certificate_chain": CHAIN, "container": CONTAINER, "status": str,
}  # fmt: skip


def order_of(pem, *names):
    """The body as encoding/json writes it: zero values of fields without omitempty are there."""
    empty = {"status": "", "name": "", "address": "", "city": "", "state": "", "zip": "", "country": ""}
    return {
        "certificate": {
            "common_name": names[0],
            "dns_names": list(names),
            "csr": pem,
            "server_platform": {"id": 45},
            "signature_hash": "sha256",
            "organization_units": ["Platform Engineering"],
        },
        "organization": {"id": ORGANIZATION, **empty},
        "validity_years": 1,
        "disable_renewal_notifications": True,
        "payment_method": "balance",
        "skip_approval": True,
        "id": 0,
        "container": {"id": 0, "name": "", "is_active": False},
    }


def encode_pem(chain):
    """Root, and everything else, which becomes tls.crt (pkg/provisioners/certcentral.go, encodePem)."""
    roots = [one for one in chain if common.is_root(one)]
    return roots, [one for one in chain if one not in roots]


prove("example.com")
pem, _ = csr("sap.example.com", "www.sap.example.com")

with step("issuer ready: organization by its name"):
    data = call("GET", "/organization", status=200, headers=HEADERS).json()
    organizations = go(data, {"organizations": [ORGANIZATION_]})["organizations"]
    assert ORGANIZATION in [one["id"] for one in organizations], organizations
    go(call("GET", f"/organization/{ORGANIZATION}", status=200, headers=HEADERS).json(), ORGANIZATION_)

with step("products"):
    products = go(call("GET", "/product", status=200, headers=HEADERS).json(), {"products": [PRODUCT]})["products"]
    offered = {one["name_id"] for one in products}
    assert {"ssl_plus", "ssl_multi_domain", "ssl_wildcard", "ssl_securesite_flex"} <= offered, offered

with step("sign: the certificates come with the answer"):
    body = order_of(pem, "sap.example.com", "www.sap.example.com")
    answer = call("POST", "/order/certificate/ssl_securesite_flex", body, 201, HEADERS)
    order = go(answer.json(), ORDER)
    chain = [one for link in order["certificate_chain"] for one in certificates(link["pem"])]
    roots, served = encode_pem(chain)
    assert len(roots) == 1 and len(served) == 2, chain
    assert common.names_of(served[0]) == ["sap.example.com", "www.sap.example.com"]

with step("download: the leaf is in the chain"):
    data = call("GET", f"/certificate/{order['certificate_id']}/chain", status=200, headers=HEADERS).json()
    links = go(data, {"intermediates": CHAIN})["intermediates"]
    roots, served = encode_pem([one for link in links for one in certificates(link["pem"])])
    assert [one.subject for one in served] == [one.subject for one in chain[:2]], [one.subject for one in served]

with step("order info"):
    data = call("GET", f"/order/certificate/{order['id']}", status=200, headers=HEADERS).json()
    shown = go(data, ORDER)
    assert shown["status"] == "issued" and shown["certificate"]["id"] == order["certificate_id"], shown

with step("download by order and by certificate"):
    for path in (f"/certificate/download/order/{order['id']}", f"/certificate/{order['certificate_id']}/download"):
        for form, count in (("pem_all", 3), ("pem_noroot", 2), ("pem", 1), ("crt", 1)):
            # Its headers say that only JSON would do. decodePEM reads to the end: whatever follows a block must be one.
            text = call("GET", f"{path}/format/{form}", status=200, headers=HEADERS).text
            assert re.fullmatch(r"(-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\r?\n)+", text), text[:80]
            assert certificates(text)[0] == chain[0] and len(certificates(text)) == count, form

with step("errors: code and message"):
    answer = call("GET", "/order/certificate/1", status=404, headers=HEADERS).json()
    assert go(answer, {"errors": [{"code": str, "message": str}]})["errors"][0]["message"]
    answer = call("GET", "/product", status=403, headers={**HEADERS, "X-DC-DEVKEY": KEY + "x"}).json()
    assert answer["errors"][0]["code"] == "access_denied|access_denied_invalid_key", answer

with step("revocation"):
    body = '{\n  "skip_approval":true\n}'
    call("PUT", f"/certificate/{order['certificate_id']}/revoke", status=204, headers=HEADERS, data=body)

finish()
