"""Keyfactor's DigiCert metadata synchronization (GitHub Keyfactor/digicert-metadata-sync, Apache-2.0; C#): what it sends
(digicert-metadata-sync/Clients/DigicertClient.cs), and its classes as System.Text.Json fills them, which is as strict with types as
Go is (digicert-metadata-sync/Models/DigicertModels.cs). It looks for orders by what a certificate says of itself, and keeps custom
fields.
"""

from common import ORGANIZATION, call, csr, finish, go, issued, prove, step

HEADERS = {"Accept": "application/json"}
FIELD = {"id": int, "label": str, "is_required": bool, "is_active": bool, "data_type": str, "show_in_receipt": bool}
CONTACT = {
    "id": int, "name": str, "first_name": str, "last_name": str, "email": str, "telephone": str, "job_title": str,
}  # fmt: skip
USER = {"id": int, "first_name": str, "last_name": str, "email": str}
ORDER = {
    "id": int, "status": str, "organization": {"id": int, "name": str, "assumed_name": str, "display_name": str},
    "certificate": {"id": int, "common_name": str, "serial_number": str, "thumbprint": str},
    "organization_contact": CONTACT, "technical_contact": CONTACT, "verified_contacts": [CONTACT],
    "container": {"id": int, "name": str}, "product": {"name_id": str}, "product_name_id": str, "additional_emails": [str],
    "custom_fields": [{"metadata_id": int, "label": str, "value": str}], "currency": str, "payment_method": str,
    "disable_issuance_email": bool, "disable_ct": bool, "allow_duplicates": bool, "duplicates_count": int,
    "reissues_count": int, "is_guest_access_enabled": bool, "has_pending_request": bool, "is_renewal": bool,
    "renewed_order_id": int, "renewal_of_order_id": int, "is_multi_year_plan": str, "order_approval_complete": bool,
    "user_assignments": [USER], "alternative_order_id": str,
}  # fmt: skip
ROW = {
    "id": int, "status": str, "date_created": str, "product_name_id": str, "has_duplicates": bool, "duplicates_count": int,
    "reissues_count": int, "certificate": ORDER["certificate"],
}  # fmt: skip

prove("example.com")
pem, _ = csr("metadata.example.com")
body = {
    "certificate": {"common_name": "metadata.example.com", "csr": pem, "signature_hash": "sha256"},
    "organization": {"id": ORGANIZATION},
    "order_validity": {"years": 1},
    "skip_approval": True,
}
placed = issued(call("POST", "/order/certificate/ssl_basic", body, 201).json()["id"])
serial, thumbprint = (placed["certificate"][key].upper() for key in ("serial_number", "thumbprint"))

with step("order by serial number and by thumbprint"):
    for identifier in (serial, thumbprint):
        order = go(call("GET", f"/order/certificate/{identifier}", status=200, headers=HEADERS).json(), ORDER)
        assert order["id"] == placed["id"] and order["certificate"], order
    call("GET", f"/order/certificate/{'0' * 32}", status=404, headers=HEADERS)

with step("order by serial number from the list"):
    shape = {"orders": [ROW], "page": {"total": int, "limit": int, "offset": int}}
    listed = go(call("GET", f"/order/certificate?filters[serial_number]={serial}&limit=1", status=200).json(), shape)
    assert [one["id"] for one in listed["orders"]] == [placed["id"]], listed
    quoted = "/order/certificate?filters%5Bstatus%5D=issued&offset=0&limit=1000"
    assert len(go(call("GET", quoted, status=200).json(), shape)["orders"]) == 1

with step("custom fields: made, listed"):
    new = {"label": "Cost centre", "is_required": False, "is_active": True, "data_type": "text", "show_in_receipt": True}
    assert call("POST", "/account/metadata", new).status_code in (200, 201, 204)
    fields = go(call("GET", "/account/metadata", status=200, headers=HEADERS).json(), {"metadata": [FIELD]})["metadata"]
    (field,) = [one for one in fields if one["label"] == "Cost centre"]

with step("custom field of an order"):
    value = {"metadata_id": field["id"], "value": "4711"}
    call("POST", f"/order/certificate/{placed['id']}/custom-field", value, 204)
    order = go(call("GET", f"/order/certificate/{placed['id']}", status=200, headers=HEADERS).json(), ORDER)
    assert order["custom_fields"] == [{"metadata_id": field["id"], "label": "Cost centre", "value": "4711"}], order

finish()
