"""pkix/digicert (GitHub; Go): what it sends (digicert.go, order.go, certificate.go, domain.go, organization.go, container.go,
request.go), and its structs as encoding/json fills them. What it does with methods and paths that the API has given up
(POST to `…/dcv/method`, `…/dcv/emails`, `…/dcv/cname`) is left out.
"""

from common import ORGANIZATION, TIME, call, csr, finish, go, issued, place_txt, prove, step

ID_NAME = {"id": int, "name": str}
PERSON = {"id": int, "first_name": str, "last_name": str, "email": str}
CONTACT = {"first_name": str, "last_name": str, "email": str, "telephone": str}
PLATFORM = {"id": int, "name": str, "install_url": str, "csr_url": str}
PRODUCT = {"name_id": str, "name": str, "type": str}
FULL_PRODUCT = {**PRODUCT, "validation_type": str, "validation_name": str, "validation_description": str}
REQUEST = {"id": int, "date": TIME, "type": str, "status": str, "comments": str}
CERTIFICATE = {
    "id": int, "thumbprint": str, "serial_number": str, "common_name": str, "dns_names": [str], "date_created": TIME,
    "valid_from": str, "valid_till": str, "csr": str, "organization": {"id": int}, "organization_units": [str],
    "server_platform": PLATFORM, "signature_hash": str, "key_size": int, "ca_cert": {"id": str, "name": str},
}  # fmt: skip
ORDER = {
    "id": int, "certificate": CERTIFICATE, "status": str, "is_renewal": bool, "is_renewed": bool, "renewed_order_id": int,
    "date_created": TIME,
    "organization": {"name": str, "display_name": str, "is_active": bool, "city": str, "state": str, "country": str},
    "disable_renewal_notifications": bool, "container": ID_NAME, "product": FULL_PRODUCT, "organization_contact": CONTACT,
    "technical_contact": CONTACT, "user": PERSON, "requests": [REQUEST], "receipt_id": int, "cs_provisioning_method": str,
    "public_id": str, "allow_duplicates": bool, "user_assignments": [PERSON], "payment_method": str, "disable_ct": bool,
}  # fmt: skip
ORDERS = {
    "orders": [{
        "id": int,
        "certificate": {"id": int, "common_name": str, "dns_names": [str], "valid_till": str, "signature_hash": str},
        "status": str, "date_created": TIME, "organization": ID_NAME, "validity_years": int, "container": ID_NAME,
        "product": PRODUCT, "price": int,
    }],
    "page": {"total": int, "limit": int, "offset": int},
}  # fmt: skip
DUPLICATES = {"certificates": [{**CERTIFICATE, "status": str, "ca_cert_id": str, "sub_id": str, "public_id": str}]}
VALIDATION = {
    "type": str, "name": str, "description": str, "date_created": TIME, "validated_until": TIME, "status": str,
    "dcv_status": str, "org_status": str,
    "verified_users": [{**PERSON, "job_title": str, "telephone": str}],
}  # fmt: skip
DOMAIN = {
    "id": int, "is_active": bool, "status": str, "name": str, "date_created": TIME,
    "organization": {"id": int, "status": str, "name": str, "display_name": str, "is_active": str},
    "validations": [VALIDATION], "container": ID_NAME,
}  # fmt: skip
REQUESTS = {
    "requests": [{
        "id": int, "date": TIME, "type": str, "status": str, "requester": PERSON, "processor": PERSON,
        "order": {"id": int, "certificate": {"common_name": str}, "organization": ID_NAME, "container": ID_NAME,
                  "product": PRODUCT},
    }]
}  # fmt: skip
ORGANIZATION_ = {
    "address": str, "address2": str, "assumed_name": str, "city": str,
    "container": {"id": int, "is_active": bool, "name": str, "parent_id": int}, "country": str, "display_name": str,
    "ev_approvers": [{"first_name": str, "id": int, "last_name": str}], "id": int, "is_active": bool, "name": str,
    "organization_contact": {**CONTACT, "id": int, "telephone_extension": str}, "state": str, "status": str,
    "telephone": str, "zip": str,
}  # fmt: skip


def order_of(pem, *names):
    """OrderSSLMultiDomainRequest; nothing is left out for being zero."""
    return {
        "certificate": {
            "common_name": names[0],
            "dns_names": list(names),
            "csr": pem,
            "organization_units": None,
            "server_platform": {"id": 45},
            "signature_hash": "sha256",
            "profile_option": "",
        },
        "organization": {"id": ORGANIZATION},
        "validity_years": 1,
        "custom_expiration_date": "",
        "comments": "",
        "disable_renewal_notifications": False,
        "renewal_of_order_id": 0,
        "disable_ct": False,
    }


with step("new domain, listed, viewed, put to sleep and woken"):
    proven = prove("example.com")
    listed = go(call("GET", "/domain?container_id=1", status=200).json(), {"domains": [DOMAIN]})["domains"]
    assert [one["id"] for one in listed] == [proven], listed
    view = go(call("GET", f"/domain/{proven}?include_dcv=true&include_validation=true", status=200).json(), DOMAIN)
    assert view["validations"][0]["dcv_status"] == "complete", view
    call("PUT", f"/domain/{proven}/deactivate", status=204, data="null")
    call("PUT", f"/domain/{proven}/activate", status=204, data="null")

with step("domains of a division that is not there"):
    assert not call("GET", "/domain?container_id=987654", status=200).json().get("domains"), "all domains"

with step("validation types and methods"):
    types = {"type": str, "name": str, "description": str, "requires_user": bool, "requires_dcv": bool}
    data = go(call("GET", "/domain/validation-type", status=200).json(), {"validation_types": [types]})
    assert all("requires_dcv" in one for one in data["validation_types"]), data
    methods = {"name": str, "display_name": str, "description": str, "default": bool}
    go(call("GET", "/domain/dcv/method", status=200).json(), {"methods": [methods]})

with step("an account without orders, and a slash before the query"):
    data = go(call("GET", "/order/certificate/?limit=10&offset=0", status=200).json(), ORDERS)
    assert data == {"page": {"total": 0, "limit": 10, "offset": 0}}, data

with step("order, with empty and zero fields"):
    pem, _ = csr("pkix.example.com", "www.pkix.example.com")
    body = order_of(pem, "pkix.example.com", "www.pkix.example.com")
    answer = call("POST", "/order/certificate/ssl_multi_domain", body, 201).json()
    placed = go(answer, {"id": int, "requests": [{"id": int, "status": str}]})
    assert placed["requests"][0]["id"], placed

with step("order with the product to be determined"):
    pem, _ = csr("any.example.com")
    body = {**order_of(pem, "any.example.com"), "renewed_thumbprint": "", "product": {"type_hint": ""}}
    assert call("POST", "/order/certificate/ssl", body, 201).json()["id"]

with step("requests: all, one, approval by the account"):
    go(call("GET", "/request?pending", status=200).json(), REQUESTS)
    request = placed["requests"][0]["id"]
    order = {**ORDER, "organization": ID_NAME, "validity_years": int, "auto_renew": int}
    order["certificate"] = {**CERTIFICATE, "organization": ID_NAME}
    order["organization_contact"] = order["technical_contact"] = {**CONTACT, "job_title": str}
    shape = {**REQUEST, "date_processed": TIME, "requester": PERSON, "processor": PERSON, "processor_comment": str}
    data = go(call("GET", f"/request/{request}", status=200).json(), {**shape, "order": order})
    assert data["status"] == "approved" and data["order"]["id"] == placed["id"], data

with step("order and orders"):
    issued(placed["id"])
    order = go(call("GET", f"/order/certificate/{placed['id']}", status=200).json(), ORDER)
    listed = go(call("GET", "/order/certificate/?limit=1&offset=0", status=200).json(), ORDERS)
    assert len(listed["orders"]) == 1 and listed["page"]["limit"] == 1, listed

with step("downloads"):
    head = {"Content-Type": "application/x-pem-file"}
    assert call("GET", f"/certificate/{order['certificate']['id']}/download/platform", status=200, headers=head).text
    head = {"Content-Type": "application/x-pkcs7-certificates"}
    text = call("GET", f"/certificate/{order['certificate']['id']}/download/format/p7b", status=200, headers=head).text
    assert "PKCS7" in text, text[:60]

with step("duplicate and duplicates"):
    pem, _ = csr("pkix.example.com")
    wanted = {**order_of(pem, "pkix.example.com", "www.pkix.example.com")["certificate"]}
    for left in ("organization_units", "profile_option"):
        del wanted[left]
    answer = call("POST", f"/order/certificate/{placed['id']}/duplicate", {"certificate": wanted}, 201).json()
    go(answer, {"id": int, "requests": [{"id": int}]})
    listed = go(call("GET", f"/order/certificate/{placed['id']}/duplicate", status=200).json(), DUPLICATES)
    assert listed["certificates"][0]["sub_id"], listed

with step("status changes"):
    shape = {"orders": [{"order_id": int, "certificate_id": int, "status": str}]}
    changed = go(call("GET", "/order/certificate/status-changes?minutes=5", status=200).json(), shape)
    assert placed["id"] in [one["order_id"] for one in changed["orders"]], changed

with step("pending order: CSR, method, random value, check, mails, cancelled"):
    pem, _ = csr("pkix.example.net")
    pending = call("POST", "/order/certificate/ssl_plus", order_of(pem, "pkix.example.net"), 201).json()["id"]
    call("POST", f"/order/certificate/{pending}/csr", {"csr": csr("pkix.example.net")[0]}, 204)
    method = {"dcv_method": "dns-txt-token"}
    go(call("PUT", f"/order/certificate/{pending}/dcv-method", method, 200).json(), {"dcv_random_value": str})
    value = go(call("PUT", f"/order/certificate/{pending}/dcv-random-value", data="null", status=200).json(),
               {"dcv_random_value": str})["dcv_random_value"]  # fmt: skip
    place_txt("_dnsauth.example.net", value)
    shape = {"order_status": str, "certificate_id": int, "dcv_status": str}
    checked = go(call("PUT", f"/order/certificate/{pending}/check-dcv", data="null", status=200).json(), shape)
    assert checked["order_status"] == "issued" and checked["certificate_id"], checked

with step("cancelled"):
    pem, _ = csr("example.org")
    pending = call("POST", "/order/certificate/ssl_plus", order_of(pem, "example.org"), 201).json()["id"]
    cancelled = {"status": "CANCELED", "note": "not needed", "send_emails": True}
    call("PUT", f"/order/certificate/{pending}/status", cancelled, 204)

with step("revocation with a comment"):
    answer = call("PUT", f"/certificate/{order['certificate']['id']}/revoke", {"Comment": "over"}, 201).json()
    go(answer, {**REQUEST, "requester": PERSON})
    assert answer["type"] == "revoke", answer

with step("organizations: all, one, those of a division, its validations, a new one with numbers"):
    go(call("GET", "/organization", status=200).json(), {"organizations": [ORGANIZATION_]})
    go(call("GET", f"/organization/{ORGANIZATION}", status=200).json(), ORGANIZATION_)
    go(call("GET", f"/organization/{ORGANIZATION}/validation", status=200).json(), {"validations": [VALIDATION]})
    new = {
        "address": "1 Main Street", "address2": "", "assumed_name": "", "city": "Lehi", "country": "us", "name": "Newcomer",
        "organization_contact": {"email": "a@example.com", "first_name": "A", "job_title": "B", "last_name": "C",
                                 "telephone": 8015550100, "telephone_extension": 1},
        "state": "Utah", "telephone": 8015550100, "zip": 84043,
    }  # fmt: skip
    added = call("POST", "/organization", new, 201).json()["id"]
    assert go(call("GET", f"/organization/{added}", status=200).json(), ORGANIZATION_)["zip"] == "84043"

with step("divisions"):
    data = call("GET", "/container/1/order/organization", status=200).json()
    go(data, {"organizations": [{"id": int, "name": str, "display_name": str}]})

finish()
