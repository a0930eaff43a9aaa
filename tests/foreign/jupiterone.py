"""JupiterOne's integration (GitHub JupiterOne/graph-digicert, MPL-2.0; TypeScript): what it sends (src/client.ts, and
src/collector/ServicesClient.ts before it), how it goes through lists, and what the real service answered in its recordings
(src/**/__recordings__/*.har of 2020 and 2023): which keys are there, and of which type.
"""

from common import ORGANIZATION, call, csr, finish, go, issued, prove, step

ACCOUNT = {
    "id": int, "primary_organization_name": str, "primary_organization_country": str, "make_renewal_calls": bool,
    "express_install_enabled": bool, "display_rep": bool, "balance_negative_limit": int, "root_container_id": int,
    "cert_transparency": str, "cert_central_type": str, "billing_account_id": int, "billing_account_name": str,
    "language_id": int, "migrated": bool, "has_auth_key": bool,
}  # fmt: skip
USER = {
    "id": int, "username": str, "account_id": int, "first_name": str, "last_name": str, "email": str, "status": str,
    "container": {"id": int, "name": str, "parent_id": int, "is_active": bool}, "access_roles": [{"id": int, "name": str}],
    "type": str, "has_container_assignments": bool,
}  # fmt: skip
DOMAIN = {
    "id": int, "is_active": bool, "name": str, "date_created": str,
    "organization": {"id": int, "status": str, "name": str, "display_name": str, "is_active": str},
    "validations": [{
        "type": str, "name": str, "description": str, "date_created": str, "validated_until": str, "status": str,
    }],
    "dcv_method": str, "dcv_expiration": {"ov": str}, "container": {"id": int, "name": str},
}  # fmt: skip
HEADERS = {"User-Agent": "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", "Accept": "*/*"}


def all_there(value, shape, at="$"):
    """All keys of the recording are there."""
    for name, inner in shape.items():
        assert name in value, f"{at}.{name} is missing"
        inner = inner[0] if isinstance(inner, list) else inner
        for one in value[name] if isinstance(value[name], list) else [value[name]]:
            if isinstance(inner, dict):
                all_there(one, inner, f"{at}.{name}")


def pages(path, key, limit):
    """iterateApi: until the key is missing, or as many as `page.total` says were seen."""
    found = []
    for _ in range(20):
        data = call("GET", f"{path}?offset={len(found)}&limit={limit}", status=200, headers=HEADERS).json()
        if not data.get(key):
            return found
        found += data[key]
        if len(found) == data["page"]["total"]:
            return found
    raise AssertionError(f"{path} does not end")


with step("account"):
    account = go(call("GET", "/account", status=200, headers=HEADERS).json(), ACCOUNT)
    all_there(account, ACCOUNT)

with step("account, with a key that is nobody's"):
    answer = call("GET", "/account", status=403, headers={**HEADERS, "X-DC-DEVKEY": "nobody's"})
    message = "Access denied due to access_denied_invalid_key."
    assert answer.json() == {"errors": [{"code": "access_denied|access_denied_invalid_key", "message": message}]}, answer.text

with step("no orders"):
    answer = call("GET", "/order/certificate", status=200, headers=HEADERS)
    assert answer.json() == {"page": {"total": 0, "limit": 1000, "offset": 0}}, answer.text
    assert answer.headers["Content-Type"] == "application/json", answer.headers
    assert pages("/order/certificate", "orders", 500) == []

with step("users"):
    users = [go(one, USER) for one in pages("/user", "users", 500)]
    assert users, "somebody has the key"
    for user in users:
        all_there(user, USER)

with step("domains with their validations"):
    prove("example.com")
    data = call("GET", "/domain?includeValidation=true", status=200, headers=HEADERS).json()
    (domain,) = go(data, {"domains": [DOMAIN]})["domains"]
    all_there(domain, DOMAIN)
    assert domain["organization"]["is_active"] == "1" and len(domain["dcv_expiration"]["ov"]) == 10, domain
    assert data["page"] == {"total": 1, "limit": 1000, "offset": 0}, data["page"]

with step("orders, page by page"):
    placed = []
    for number in range(3):
        name = f"host{number}.example.com"
        body = {
            "certificate": {"common_name": name, "csr": csr(name)[0], "signature_hash": "sha256"},
            "organization": {"id": ORGANIZATION},
            "validity_years": 1,
            "skip_approval": True,
        }
        placed.append(issued(call("POST", "/order/certificate/ssl_basic", body, 201).json()["id"])["id"])
    order = {
        "id": int, "status": str, "is_renewed": bool, "date_created": str, "validity_years": int,
        "certificate": {
            "id": int, "common_name": str, "dns_names": [str], "signature_hash": str, "valid_till": str, "days_remaining": int,
        },
        "organization": {"id": int, "name": str}, "disable_renewal_notifications": bool,
        "container": {"id": int, "name": str}, "product": {"name_id": str, "name": str, "type": str}, "has_duplicates": bool,
        "product_name_id": str,
    }  # fmt: skip
    listed = [go(one, order) for one in pages("/order/certificate", "orders", 2)]
    assert sorted(one["id"] for one in listed) == placed, listed
    all_there(listed[0], order)

finish()
