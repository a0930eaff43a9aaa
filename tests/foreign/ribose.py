"""The Ruby gem digicert (GitHub riboseinc/digicert, MIT): what it sends (lib/digicert/*.rb), and what its tests expect to be
answered (spec/support/fake_digicert_api.rb: paths, methods, statuses). It reads answers as nested structs, so that a field is there
or a call on nil fails.
"""

from common import ORGANIZATION, call, certificates, csr, finish, issued, prove, step


def order_of(pem, name, **more):
    return {
        "certificate": {
            "organization_units": ["Developer Operations"],
            "server_platform": {"id": 45},
            "csr": pem,
            "common_name": name,
            "signature_hash": "sha256",
        },
        "organization": {"id": ORGANIZATION},
        "validity_years": 1,
        "skip_approval": True,
        **more,
    }


with step("products"):
    assert "ssl_plus" in [one["name_id"] for one in call("GET", "/product", status=200).json()["products"]]
    product = call("GET", "/product/ssl_plus", status=200).json()
    assert product["signature_hash_types"]["allowed_hash_types"][0]["id"] and product["server_platforms"], product

with step("organizations"):
    assert call("GET", "/organization", status=200).json()["organizations"][0]["container"]["name"]
    organization = call("GET", f"/organization/{ORGANIZATION}", status=200).json()
    assert organization["organization_contact"]["email"] and organization["is_active"] is True, organization

with step("divisions"):
    container = call("GET", "/container", status=200).json()["containers"][0]
    assert call("GET", f"/container/{container['id']}", status=200).json()["name"] == container["name"]

with step("domains: proven, listed, fetched, put to sleep and woken"):
    domain = prove("example.com")
    assert call("GET", "/domain?container_id=1", status=200).json()["domains"][0]["id"] == domain
    fetched = call("GET", f"/domain/{domain}?include_dcv=true&include_validation=true", status=200).json()
    assert fetched["validations"][0]["status"], fetched
    call("PUT", f"/domain/{domain}/deactivate", status=204)
    call("PUT", f"/domain/{domain}/activate", status=204)

with step("EV order for the base name and www, with immediate issuance"):
    pem, _ = csr("example.com")
    created = call("POST", "/order/certificate/ssl_ev_plus", order_of(pem, "example.com"), 201).json()
    assert created["certificate_id"] and created["certificate_chain"][0]["pem"].endswith("\r\n"), created

with step("wildcard order"):
    pem, _ = csr("*.example.com")
    created = call("POST", "/order/certificate/ssl_wildcard", order_of(pem, "*.example.com"), 201).json()
    order = issued(created["id"])
    assert set(order["certificate"]["dns_names"]) >= {"*.example.com"}, order

with step("orders, filtered by nothing but status"):
    orders = call("GET", "/order/certificate", status=200).json()
    assert len(orders["orders"]) == orders["page"]["total"] == 2, orders

with step("downloads: by format, by platform, by the order's platform"):
    number = order["certificate"]["id"]
    assert len(certificates(call("GET", f"/certificate/{number}/download/format/pem_all", status=200).text)) == 3
    assert call("GET", f"/certificate/{number}/download/platform/45", status=200).content
    assert call("GET", f"/certificate/{number}/download/platform", status=200).content

with step("reissue of what order info says, which is all it takes"):
    told = order["certificate"]
    wanted = {key: told[key] for key in ("common_name", "dns_names", "csr", "signature_hash")}
    wanted["server_platform"] = {"id": told["server_platform"]["id"]}
    answer = call("POST", f"/order/certificate/{order['id']}/reissue", {"certificate": wanted}, 201).json()
    assert answer["id"] == order["id"] and answer["requests"][0]["id"], answer
    path = f"/request/{answer['requests'][0]['id']}"
    assert call("GET", path, status=200).json()["order"]["id"] == order["id"]
    call("PUT", f"{path}/status", {"status": "approved", "processor_comment": "Your domain is approved"}, 204)
    assert call("GET", path, status=200).json()["status"] == "approved"

with step("duplicate of what order info says"):
    issued(order["id"])
    answer = call("POST", f"/order/certificate/{order['id']}/duplicate", {"certificate": wanted}, 201).json()
    assert answer["requests"][0]["id"], answer
    call("PUT", f"/request/{answer['requests'][0]['id']}/status", {"status": "approved"}, 204)
    copies = call("GET", f"/order/certificate/{order['id']}/duplicate", status=200).json()["certificates"]
    for field in ("id", "thumbprint", "serial_number", "common_name", "dns_names", "status", "date_created", "valid_from",
                  "valid_till", "csr", "server_platform", "signature_hash", "key_size", "ca_cert_id", "sub_id",
                  "public_id"):  # fmt: skip
        assert copies[0][field], field

with step("revocation, to be approved"):
    answer = call("PUT", f"/certificate/{number}/revoke", {"comments": "Revoked via API!"}, 201).json()
    assert answer["type"] == "revoke" and answer["requester"]["id"] and answer["comments"] == "Revoked via API!", answer

with step("order cancelled"):
    pem, _ = csr("example.org")
    pending = call("POST", "/order/certificate/ssl_plus", order_of(pem, "example.org"), 201).json()["id"]
    body = {"status": "CANCELED", "send_emails": False, "note": "Cancellation note"}
    call("PUT", f"/order/certificate/{pending}/status", body, 204)

with step("errors are told by their status"):
    assert call("GET", "/order/certificate/1", status=404).json()["errors"]
    assert call("GET", "/product", status=403, headers={"X-DC-DEVKEY": "nobody's"}).json()["errors"]
    assert call("GET", "/nowhere", status=404).json()["errors"][0]["code"] == "not_found|route"

finish()
