"""Keyfactor's AnyCA gateway plugin for CertCentral (GitHub Keyfactor/digicert-certcentral-caplugin, Apache-2.0; C#): what it sends
(Client/CertCentralClient.cs, API/*.cs), and its classes as Json.NET fills them (API/*.cs, Models/*.cs).
"""

import datetime
import urllib.parse

from common import ORGANIZATION, TIME, call, certificates, csr, finish, issued, newtonsoft, prove, step

ID = {"id": str, "name": str}
PERSON = {"id": int, "first_name": str, "last_name": str, "email": str}
PRODUCT = {
    "name_id": str, "name": str, "type": str, "validation_type": str, "validation_name": str,
    "validation_description": str,
}  # fmt: skip
CERTIFICATE = {
    "id": int, "thumbprint": str, "status": str, "serial_number": str, "common_name": str, "dns_names": [str],
    "date_created": TIME, "valid_from": TIME, "valid_till": TIME, "csr": str, "organization": ID,
    "organization_units": [str],
    "server_platform": {"id": int, "name": str, "install_url": str, "csr_url": str}, "signature_hash": str,
    "key_size": int, "ca_cert": ID,
}  # fmt: skip
CONTAINER = {
    "id": int, "public_id": str, "name": str, "description": str, "parent_id": int, "template_id": int, "ekey": str,
    "has_logo": bool, "is_active": bool, "allowed_domain_names": [str],
}  # fmt: skip
ORDER = {
    "id": int, "certificate": CERTIFICATE, "status": str, "date_created": TIME, "order_valid_till": TIME,
    "product": PRODUCT, "container": CONTAINER,
    "organization_contact": {"first_name": str, "last_name": str, "email": str, "telephone": str},
    "requests": [{"id": int, "date": TIME, "type": str, "status": str, "comments": str}], "dcv_method": str,
    "notes": [{"id": int, "text": str}],
}  # fmt: skip
PLACED = {
    "id": int, "requests": [{"id": str, "status": str}], "certificate_id": int,
    "certificate_chain": [{"subject_common_name": str, "pem": str}], "dcv_random_value": str,
}  # fmt: skip


def order_of(pem, name, **more):
    """OrderRequest as Json.NET writes it without nulls: ids are texts, and zero is not null."""
    return {
        "certificate": {
            "common_name": name,
            "dns_names": [name],
            "csr": pem,
            "server_platform": {"id": "-1"},
            "signature_hash": "sha256",
        },
        "organization": {"id": str(ORGANIZATION)},
        "validity_years": 1,
        "disable_renewal_notifications": True,
        "renewal_of_order_id": 0,
        "dcv_method": "dns-txt-token",
        "custom_fields": [],
        "skip_approval": True,
        **more,
    }


prove("example.com")

with step("divisions"):
    containers = newtonsoft(call("GET", "/container", status=200).json(), {"containers": [CONTAINER]})["containers"]
    assert containers[0]["id"] and containers[0]["name"], containers

with step("organizations, active ones only"):
    organization = {
        "id": int, "status": str, "name": str, "display_name": str, "is_active": str, "address": str, "address2": str,
        "zip": str, "city": str, "state": str, "country": str, "telephone": str,
        "container": {"id": int, "parent_id": int, "name": str, "is_active": bool},
        "ev_approvers": [{"id": int, "first_name": str, "last_name": str}],
    }  # fmt: skip
    path = "/organization?include_validation=False&filters[status]=active"
    data = newtonsoft(call("GET", path, status=200).json(), {"organizations": [organization]})
    assert ORGANIZATION in [one["id"] for one in data["organizations"]], data

with step("domains, with flags in C#'s words"):
    domain = {
        "id": int, "is_active": bool, "name": str, "date_created": TIME, "container": ID,
        "organization": {"id": int, "name": str, "assumed_name": str, "display_name": str},
    }  # fmt: skip
    data = call("GET", "/domain?include_validation=False", status=200).json()
    assert newtonsoft(data, {"domains": [domain]})["domains"][0]["name"] == "example.com", data
    assert "validations" not in data["domains"][0], "False is not true"
    data = call("GET", "/domain?include_validation=True&container_id=1", status=200).json()
    assert data["domains"][0]["validations"], data

with step("product types and one type's details"):
    platform = {"id": int, "name": str, "install_url": str, "csr_url": str}
    details = {
        "group_name": str, "name_id": str, "name": str, "type": str, "remaining_certs_in_contract": int,
        "duplicates_allowed": bool, "allowed_validity_years": [int],
        "signature_hash_types": {"allowed_hash_types": [{"id": str, "name": str}], "default_hash_type_id": str},
        "additional_dns_names_allowed": bool, "increased_compatibility_allowed": bool,
        "custom_expiration_date_allowed": bool, "csr_required": bool, "allowed_auto_renew": bool,
        "server_platforms": [platform], "license_agreement": str,
    }  # fmt: skip
    data = newtonsoft(call("GET", "/product", status=200).json(), {"products": [PRODUCT]})
    assert data["products"], data
    # BuildParameters begins with the separator.
    data = newtonsoft(call("GET", "/product/ssl_basic?&container_id=1", status=200).json(), details)
    assert data["name_id"] == "ssl_basic" and data["allowed_validity_years"] and data["server_platforms"], data

with step("enrollment"):
    pem, _ = csr("keyfactor.example.com")
    placed = call("POST", "/order/certificate/ssl_basic", order_of(pem, "keyfactor.example.com"), 201).json()
    newtonsoft(placed, PLACED)
    leaf = certificates(placed["certificate_chain"][0]["pem"])[0]
    assert leaf.subject.rfc4514_string().find("keyfactor.example.com") >= 0, leaf.subject

with step("enrollment with a DateTime as the last day, in a division"):
    pem, _ = csr("day.example.com")
    day = datetime.date.today() + datetime.timedelta(days=100)
    body = order_of(pem, "day.example.com", custom_expiration_date=f"{day}T00:00:00", container={"id": 1})
    dated = newtonsoft(call("POST", "/order/certificate/ssl_basic", body, 201).json(), PLACED)
    till = issued(dated["id"])["certificate"]["valid_till"]
    assert till <= day.isoformat(), (till, day)

with step("order, and its certificate as PEM in one line"):
    order = newtonsoft(call("GET", f"/order/certificate/{placed['id']}", status=200).json(), ORDER)
    assert order["status"] == "issued", order
    path = f"/certificate/{order['certificate']['id']}/download/format/pem_all"
    text = call("GET", path, status=200).text
    assert "\n" not in text.replace("\r\n", ""), "it takes only \\r\\n away"

with step("synchronization: orders of a division that have not expired"):
    yesterday = datetime.date.today() - datetime.timedelta(days=1)
    summary = {"id": int, "common_name": str, "dns_names": [str], "signature_hash": str}
    row = {
        "id": int, "certificate": summary, "status": str, "date_created": str, "validity_years": int, "container": ID,
        "product": PRODUCT, "price": float, "has_duplicates": bool, "is_renewed": bool,
    }  # fmt: skip
    shape = {"orders": [row], "page": {"total": int, "offset": int}}
    path = f"/order/certificate?limit=1000&offset=0&filters[container_id]=1&filters[valid_till]=>{yesterday}"
    data = newtonsoft(call("GET", path, status=200).json(), shape)
    assert data["page"]["total"] == len(data["orders"]) == 2, data
    path = f"/order/certificate?limit=1000&offset=0&filters[container_id]=1&filters[valid_till]=>{day}"
    data = newtonsoft(call("GET", path, status=200).json(), shape)
    assert data["page"]["total"] == 1, data

with step("synchronization: what changed between two moments"):
    # US Mountain time, as the page "Status change list" has it.
    now = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=-7)))
    first, last = (now + datetime.timedelta(hours=hours) for hours in (-3, 3))
    span = "...".join(one.strftime("%Y-%m-%d %H:%M:%S") for one in (first, last))
    query = urllib.parse.urlencode({"filters[status_last_updated]": span})
    shape = {"orders": [{"order_id": int, "certificate_id": int, "status": str}]}
    data = newtonsoft(call("GET", f"/order/certificate/status-changes?{query}", status=200).json(), shape)
    assert placed["id"] in [one["order_id"] for one in data["orders"]], data

with step("reissue, reissues, duplicates, chain"):
    pem, _ = csr("keyfactor.example.com")
    wanted = order_of(pem, "keyfactor.example.com")["certificate"] | {"server_platform": {"id": -1}}
    body = {"certificate": wanted, "order_id": placed["id"], "skip_approval": True}
    again = newtonsoft(call("POST", f"/order/certificate/{placed['id']}/reissue", body, 201).json(), PLACED)
    assert again["certificate_id"] != placed["certificate_id"], again
    issued(placed["id"])
    shape = {"certificates": [CERTIFICATE]}
    listed = newtonsoft(call("GET", f"/order/certificate/{placed['id']}/reissue", status=200).json(), shape)
    assert again["certificate_id"] in [one["id"] for one in listed["certificates"]], listed
    newtonsoft(call("GET", f"/order/certificate/{placed['id']}/duplicate", status=200).json(), shape)
    chain = {"intermediates": [{"subject_common_name": str, "pem": str}]}
    newtonsoft(call("GET", f"/certificate/{again['certificate_id']}/chain", status=200).json(), chain)

with step("requests that wait, one of them approved"):
    pem, _ = csr("waits.example.com")
    body = order_of(pem, "waits.example.com", skip_approval=False)
    waiting = newtonsoft(call("POST", "/order/certificate/ssl_basic", body, 201).json(), PLACED)
    short = {"name_id": str, "name": str, "type": str}
    order = {"id": int, "certificate": {"common_name": str}, "organization": ID, "container": ID, "product": short}
    row = {"id": int, "date": TIME, "type": str, "status": str, "requester": PERSON, "processor": PERSON, "order": order}
    data = newtonsoft(call("GET", "/request?status=pending", status=200).json(), {"requests": [row]})
    assert [one["order"]["id"] for one in data["requests"]] == [waiting["id"]], data
    request = waiting["requests"][0]["id"]
    call("PUT", f"/request/{request}/status", {"status": "approved", "processor_comment": "yes"}, 204)
    data = call("GET", "/request?status=pending", status=200).json()
    assert not data.get("requests"), data
    issued(waiting["id"])

with step("DCV check of an order, without a body"):
    pem, _ = csr("check.example.net")
    body = order_of(pem, "check.example.net")
    pending = newtonsoft(call("POST", "/order/certificate/ssl_basic", body, 201).json(), PLACED)
    assert pending["dcv_random_value"], pending
    checked = call("PUT", f"/order/certificate/{pending['id']}/check-dcv", status=200).json()
    newtonsoft(checked, {"dcv_status": str, "order_status": str})
    assert checked["order_status"] == "pending", checked

with step("revocations, of a certificate and of an order"):
    body = {"comments": "over", "skip_approval": True}
    assert not call("PUT", f"/certificate/{dated['certificate_id']}/revoke", body, 204).content
    assert not call("PUT", f"/order/certificate/{placed['id']}/revoke", body, 204).content

finish()
